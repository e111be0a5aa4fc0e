"""Image files: ``[part/]class/name`` in a folder or a tar archive, decoded once to uint8."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from compressc.errors import DataError
from compressc.models.training_data import Labeled

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif"})
_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# Above this share of unreadable files something else is wrong than a few bad files.
_BAD_SHARE = 0.01
_THREADS = 4
_AHEAD = 2048


@dataclass(frozen=True)
class ImageSet:
    """What a folder or archive holds.

    Attributes:
        parts: images and labels by part; "train" alone where the source has no parts.
        classes: names in alphabetical order, as labels count.
        notes: which files were skipped.
    """

    parts: dict[str, Labeled]
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def has_labels(self) -> bool:
        """Whether folders tell classes apart: not where images lie in one, or in parts alone."""
        return len(self.classes) > 1 and not set(map(str.lower, self.classes)) <= set(_PARTS)


@dataclass(frozen=True)
class _Entry:
    part: str
    label: str
    name: str
    content: bytes


def read_images(source: Path, size: tuple[int, int] | None, channels: int | None) -> ImageSet:
    """Read and decode every image.

    Args:
        source: a folder or a tar archive (also compressed) with class sub-folders, below
            ``train``, ``val`` and ``test`` or without such parts. Images beside such folders are
            left out; where there are no others they are all of one class without a name.
        size: (height, width) that images are scaled and cropped to; None if all have one size.
        channels: 1 for grey, 3 for colour; None for grey if all images are.

    Raises:
        DataError: if there are no images, or over 1 % cannot be read, or sizes differ without
            ``size``.
    """
    rows: list[tuple[str, str, str, NDArray[np.uint8]]] = []
    bad: list[str] = []
    grey = channels == 1
    entries = _entries(source)
    # A window of files at a time: their bytes must not pile up before they are decoded.
    with ThreadPoolExecutor(_THREADS) as pool:
        while window := list(islice(entries, _AHEAD)):
            decoded = pool.map(partial(_decode, size=size), window)
            for entry, pixels in zip(window, decoded, strict=True):
                if pixels is None:
                    bad.append(entry.name)
                else:
                    rows.append((entry.part, entry.label, entry.name, pixels))
    total = len(rows) + len(bad)
    if not total:
        raise DataError(
            f"{source}: no images found; expected .jpg or .png files, in one sub-folder per class "
            "(below train/ and test/ or without parts), or without sub-folders and labels"
        )
    notes = _judge(source, sorted(bad), total)
    in_folders = [row for row in rows if row[1]]
    rows = in_folders or rows
    if channels is None:
        grey = all(row[3].shape[2] == 1 for row in rows)
    return _assemble(source, rows, grey, notes)


def _judge(source: Path, bad: list[str], total: int) -> tuple[str, ...]:
    if not bad:
        return ()
    named = ", ".join(bad[:3]) + (" and others" if len(bad) > 3 else "")
    text = f"{len(bad)} of {total} images cannot be read ({named})"
    if len(bad) > _BAD_SHARE * total:
        raise DataError(f"{source}: {text}; above 1 % they are not skipped: repair or remove them")
    return (f"skipped: {text}",)


def _assemble(
    source: Path,
    rows: list[tuple[str, str, str, NDArray[np.uint8]]],
    grey: bool,
    notes: tuple[str, ...],
) -> ImageSet:
    # Sorted, so that an archive and a folder give the same order and hence the same splits.
    rows.sort(key=lambda row: row[:3])
    sizes: dict[tuple[int, int], str] = {}
    for _part, _label, name, pixels in rows:
        sizes.setdefault((pixels.shape[0], pixels.shape[1]), name)
    if len(sizes) > 1:
        (size, first), (other, second) = list(sizes.items())[:2]
        raise DataError(
            f"{source}: images differ in size ({first} is {size[0]}x{size[1]}, {second} "
            f"{other[0]}x{other[1]}); give the input size of the model"
        )
    classes = tuple(sorted({row[1] for row in rows}))
    index = {name: label for label, name in enumerate(classes)}
    parts = {}
    names = list(dict.fromkeys(row[0] for row in rows))
    if "" in names and len(names) > 1:
        raise DataError(f"{source}: some images lie below train/val/test folders and some do not")
    for part in names:
        mine = [row for row in rows if row[0] == part]
        images = np.stack([_with_channels(row[3], grey) for row in mine])
        labels = torch.tensor([index[row[1]] for row in mine])
        parts[part or "train"] = Labeled(_channels_first(images), labels)
    if "train" not in parts:
        raise DataError(f"{source}: there is no train folder beside {', '.join(sorted(parts))}")
    return ImageSet(parts, classes, notes)


def _with_channels(pixels: NDArray[np.uint8], grey: bool) -> NDArray[np.uint8]:
    if pixels.shape[2] == (1 if grey else 3):
        return pixels
    if grey:
        # Luma of ITU-R 601, as Pillow converts.
        luma = (pixels @ np.array([0.299, 0.587, 0.114])).round()
        return np.asarray(luma[:, :, None], dtype=np.uint8)
    return np.repeat(pixels, 3, axis=2)


def _channels_first(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _entries(source: Path) -> Iterator[_Entry]:
    for name, content in _files(source):
        place = place_of(name)
        if place is not None:
            yield _Entry(*place, name, content)


def place_of(name: str) -> tuple[str, str] | None:
    """Return the part and the class that an image's name says; None where it is no image."""
    path = PurePosixPath(name)
    folders = path.parts[:-1]
    if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
        return None
    above = folders[-2].lower() if len(folders) > 1 else ""
    return _PARTS.get(above, ""), folders[-1] if folders else ""


def decode_file(
    path: Path,
    size: tuple[int, int],
    channels: int,
    share: float = 1.0,
    corner: Sequence[float] = (0.5, 0.5),
) -> NDArray[np.uint8] | None:
    """Decode one image file, or part of it, to a size; None where the file is damaged.

    Args:
        path: the file.
        size: (height, width) of the result.
        channels: 1 for grey, 3 for colour.
        share: part of the largest area of that form which is cut out and scaled.
        corner: where it lies, each from 0 to 1; 0.5 is the middle.

    Shape:
        (height, width, channels).
    """
    try:
        with Image.open(path) as image:
            # JPEGs are decoded at the smallest scale that is large enough.
            image.draft("RGB", (2 * size[1], 2 * size[0]))
            picture = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    scale = min(picture.width / size[1], picture.height / size[0]) * share**0.5
    width, height = size[1] * scale, size[0] * scale
    left, top = (picture.width - width) * corner[0], (picture.height - height) * corner[1]
    box = (left, top, left + width, top + height)
    picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, box)
    pixels = np.asarray(picture)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        for path in source.rglob("*"):
            if path.is_file():
                yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                opened = archive.extractfile(member) if member.isfile() else None
                if opened is not None:
                    yield member.name, opened.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{source}: not a readable tar archive ({error})") from error


def _decode(entry: _Entry, size: tuple[int, int] | None) -> NDArray[np.uint8] | None:
    """Decode one entry to (height, width, 1 or 3), or None where the file is damaged."""
    try:
        with Image.open(io.BytesIO(entry.content)) as image:
            picture = image.convert("L" if image.mode in ("1", "L") else "RGB")
            if size is not None and picture.size != size[::-1]:
                # Scaled until it covers the size, then the middle is cut out.
                picture = ImageOps.fit(picture, size[::-1], Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    pixels = np.asarray(picture)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
