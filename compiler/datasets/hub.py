"""``hf:NAME``: a data set of Hugging Face ``datasets`` that lies in its cache on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressc.datasets.hub_names import PREFIX, check_installed
from compressc.datasets.picture_names import PARTS
from compressc.datasets.picture_sources import Stored
from compressc.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

# Names of image and label columns in use, the likeliest first.
_IMAGES = ("image", "img", "picture", "pixel_values")
_LABELS = ("label", "labels", "fine_label", "coarse_label")


@dataclass(frozen=True, eq=False)
class HubSource:
    """Pictures of a data set in Arrow files, which are mapped into memory and never read whole.

    Attributes:
        name: of the data set.
        splits: by part: "train", "val", "test".
        images: the column with pictures.
        labels: the column with classes; None where there is none.
    """

    name: str
    splits: Mapping[str, Dataset]
    images: str
    labels: str | None
    can_seek: bool = True

    @cached_property
    def classes(self) -> Mapping[str, str] | None:
        """The names of classes by their number, which is what folders are called here."""
        if self.labels is None:
            return None
        names = next(iter(self.splits.values())).features[self.labels].names
        return {f"{number:06}": str(name) for number, name in enumerate(names)}

    def identity(self) -> str:
        """Return what the library knows the splits by."""
        return " ".join(f"{part} {split._fingerprint}" for part, split in self.splits.items())

    def list(self) -> Iterator[Stored]:
        """Yield every picture, with its row; how large they are stands nowhere."""
        for part, split in self.splits.items():
            if self.labels is None:
                yield from (Stored(f"{part}/{row}.png", row, 0) for row in range(len(split)))
                continue
            for row, label in enumerate(split[self.labels]):
                # Test splits of challenges have -1 for labels that are kept secret.
                if label is not None and label >= 0:
                    yield Stored(f"{part}/{label:06}/{row}.png", row, 0)

    def read(self, stored: Stored) -> bytes:
        """Return one picture as it is stored."""
        split = self.splits[stored.name.partition("/")[0]]
        kept = split[stored.place][self.images]
        if kept["bytes"] is not None:
            return bytes(kept["bytes"])
        try:
            return Path(kept["path"]).read_bytes()
        except OSError as error:
            raise DataError(f"{PREFIX}{self.name}, {stored.name}: {error.strerror}") from error

    def walk(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) of every picture."""
        for stored in self.list():
            yield stored.name, self.read(stored)


def open_hub(source: str) -> HubSource:
    """Return the pictures of ``hf:NAME`` or ``hf:NAME:CONFIGURATION``; nothing is downloaded.

    Raises:
        DataError: if ``datasets`` is not installed, the data set is not in its cache, or it has no
            pictures or no training split.
    """
    name, _, configuration = source.removeprefix(PREFIX).partition(":")
    splits = _load(source, name, configuration or None)
    features = next(iter(splits.values())).features
    images = _column(features, _IMAGES, "Image")
    if images is None:
        raise DataError(
            f"{source}: has the columns {', '.join(features)} and no pictures; for other data "
            "write a function that returns a task (--data module:factory)"
        )
    from datasets import Image

    whole = {part: split.cast_column(images, Image(decode=False)) for part, split in splits.items()}
    return HubSource(name, whole, images, _column(features, _LABELS, "ClassLabel"))


def _load(source: str, name: str, configuration: str | None) -> dict[str, Dataset]:
    check_installed(source)
    from datasets.packaged_modules.cache.cache import Cache

    try:
        # The builder for what is cached: load_dataset itself would ask the network first.
        with _quietly():
            builder = Cache(
                repo_id=name,
                dataset_name=name.rpartition("/")[2],
                config_name=configuration,
                version="auto",
                hash="auto",
            )
            loaded = builder.as_dataset()
    except (ValueError, OSError, KeyError) as error:
        said = " ".join(str(error).split())
        raise DataError(
            f"{source}: not in the cache of datasets ({said}); load it once with "
            f"datasets.load_dataset({name!r})"
        ) from error
    splits = {PARTS[part]: split for part, split in loaded.items() if part in PARTS}
    if "train" not in splits:
        raise DataError(f"{source}: has the splits {', '.join(loaded)}; one named train is needed")
    return splits


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the library's remark that it found what was asked for from standard error."""
    from datasets.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _column(features: Mapping[str, Any], usual: tuple[str, ...], kind: str) -> str | None:
    """Return the column of a kind, by its usual name where there are several."""
    fitting = [name for name, feature in features.items() if type(feature).__name__ == kind]
    return next((name for name in usual if name in fitting), fitting[0] if fitting else None)
