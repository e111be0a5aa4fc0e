from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Maker = Callable[..., Path]


@pytest.fixture
def make_images(tmp_path: Path) -> Maker:
    """Writes ``[part/]class/N.png`` below a folder; red images are cats, green ones dogs."""
    from PIL import Image

    def make(
        *parts: str, count: int = 20, classes: tuple[str, ...] = ("cat", "dog"), side: int = 12
    ) -> Path:
        folder = tmp_path / "pets"
        for part in parts or ("",):
            for label, name in enumerate(classes):
                place = folder / part / name
                place.mkdir(parents=True, exist_ok=True)
                for index in range(count):
                    pixels = np.full((side, side, 3), index % 50, np.uint8)
                    pixels[:, :, label] = 200
                    Image.fromarray(pixels).save(place / f"{index:03d}.png")
        return folder

    return make
