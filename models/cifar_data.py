"""CIFAR-10-JPEG: ``{train,test}/<class>/NNNN.jpg`` in a folder or a tar archive.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, stored as JPEG of
quality 75. That is lossy, so numbers on it are never those of CIFAR-10.

Needs Pillow, which is imported on use only.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from compressc.models.training_data import DataSet, Labeled, carve_validation

_SIDE = 32
_VALIDATION_SHARE = 0.1


def load_cifar(source: Path, split_seed: int = 0) -> DataSet:
    """Read the images; search-validation is a tenth of the training part.

    Args:
        source: the folder that holds ``train`` and ``test``, or a tar archive of it.
        split_seed: decides which training images become search-validation.

    Raises:
        FileNotFoundError: if the source is missing.
        ImportError: if Pillow is missing.
        ValueError: if an image cannot be read, or a part or a class is missing.
    """
    found: dict[str, list[tuple[str, str, Tensor]]] = {"train": [], "test": []}
    for name, content in read_files(source):
        path = PurePosixPath(name)
        if path.suffix == ".jpg" and len(path.parts) >= 3 and path.parts[-3] in found:
            pixels = decode(content, name)
            found[path.parts[-3]].append((path.parts[-2], path.name, pixels))
    classes = sorted({row[0] for row in found["train"]})
    if not classes or classes != sorted({row[0] for row in found["test"]}):
        raise ValueError(f"{source} needs train/<class>/*.jpg and test/<class>/*.jpg, same classes")
    parts = {}
    for part, rows in found.items():
        # Sorted, so that an archive and a folder give the same order and hence the same split.
        rows.sort(key=lambda row: row[:2])
        labels = torch.tensor([classes.index(row[0]) for row in rows])
        parts[part] = Labeled(torch.stack([row[2] for row in rows]), labels)
    train, val = carve_validation(parts["train"], _VALIDATION_SHARE, split_seed)
    return DataSet("CIFAR-10-JPEG", train, val, parts["test"], split_seed)


def read_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the relative name and the content of every file in a folder or tar archive."""
    if source.is_dir():
        for path in source.rglob("*.jpg"):
            yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    if not source.is_file():
        raise FileNotFoundError(f"{source} is neither a folder nor a tar archive")
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                opened = archive.extractfile(member) if member.isfile() else None
                if opened is not None:
                    yield member.name, opened.read()
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{source} is no readable tar archive: {error}") from error


def decode(content: bytes, name: str) -> Tensor:
    """Decode one image to uint8 (3, 32, 32).

    Raises:
        ImportError: if Pillow is missing.
        ValueError: if the image is damaged or of another size.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("reading JPEG files needs Pillow; pip install pillow") from error

    try:
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{name} cannot be read as an image: {error}") from error
    if image.size != (_SIDE, _SIDE):
        raise ValueError(f"{name} is {image.size[0]}x{image.size[1]} pixels, not {_SIDE}x{_SIDE}")
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(_SIDE, _SIDE, 3).permute(2, 0, 1).contiguous()
