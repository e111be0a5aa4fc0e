"""Image files, decoded once to uint8: a whole data set in memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressc.datasets.decoding import decode
from compressc.datasets.picture_names import place_of, tell_classes_apart
from compressc.datasets.picture_sources import PictureSource
from compressc.errors import DataError
from compressc.models.training_data import Labeled

# Above this share of unreadable files something else is wrong than a few bad files.
_BAD_SHARE = 0.01
_THREADS = 4
_AHEAD = 2048
_GIGA = 10**9


@dataclass(frozen=True)
class ImageSet:
    """What a source holds.

    Attributes:
        parts: images and labels by part; "train" alone where the source has no parts.
        classes: names in the order of labels.
        notes: which files were skipped.
        has_labels: whether folders tell classes apart.
    """

    parts: dict[str, Labeled]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    has_labels: bool


@dataclass(frozen=True)
class _Entry:
    part: str
    label: str
    name: str
    content: bytes


def read_images(
    source: PictureSource, size: tuple[int, int] | None, channels: int | None, most_bytes: float
) -> ImageSet:
    """Read and decode every image.

    Args:
        source: images with class sub-folders, below ``train``, ``val`` and ``test`` or without
            such parts. Images beside such folders are left out; where there are no others they
            are all of one class without a name.
        size: (height, width) that images are scaled and cropped to; None if all have one size.
        channels: 1 for grey, 3 for colour; None for grey if all images are.
        most_bytes: that the decoded images may take.

    Raises:
        DataError: if there are no images, or over 1 % cannot be read, or sizes differ without
            ``size``, or they would take too much memory.
    """
    where = source.name
    rows: list[tuple[str, str, str, NDArray[np.uint8]]] = []
    bad: list[str] = []
    grey = channels == 1
    entries, taken = _entries(source), 0
    # A window of files at a time: their bytes must not pile up before they are decoded.
    with ThreadPoolExecutor(_THREADS) as pool:
        while window := list(islice(entries, _AHEAD)):
            decoded = pool.map(partial(_decode, size=size, channels=channels), window)
            for entry, pixels in zip(window, decoded, strict=True):
                if pixels is None:
                    bad.append(entry.name)
                else:
                    rows.append((entry.part, entry.label, entry.name, pixels))
                    taken += pixels.nbytes
            if taken > most_bytes:
                raise DataError(
                    f"{where}: its pictures take more than {most_bytes / _GIGA:.3g} GB of memory; "
                    "unpack a compressed archive and give the folder, whose files are read as they "
                    "are needed by models of pictures"
                )
    total = len(rows) + len(bad)
    if not total:
        raise DataError(
            f"{where}: no images found; expected .jpg or .png files, in one sub-folder per class "
            "(below train/ and test/ or without parts), or without sub-folders and labels"
        )
    notes = _judge(where, sorted(bad), total)
    in_folders = [row for row in rows if row[1]]
    rows = in_folders or rows
    if channels is None:
        grey = all(row[3].shape[2] == 1 for row in rows)
    return _assemble(source, rows, grey, notes)


def _judge(where: str, bad: list[str], total: int) -> tuple[str, ...]:
    if not bad:
        return ()
    named = ", ".join(bad[:3]) + (" and others" if len(bad) > 3 else "")
    text = f"{len(bad)} of {total} images cannot be read ({named})"
    if len(bad) > _BAD_SHARE * total:
        raise DataError(f"{where}: {text}; above 1 % they are not skipped: repair or remove them")
    return (f"skipped: {text}",)


def _assemble(
    source: PictureSource,
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
            f"{source.name}: images differ in size ({first} is {size[0]}x{size[1]}, {second} "
            f"{other[0]}x{other[1]}); give the input size of the model"
        )
    folders = tuple(source.classes or sorted({row[1] for row in rows}))
    index = {folder: label for label, folder in enumerate(folders)}
    parts = {}
    names = list(dict.fromkeys(row[0] for row in rows))
    if "" in names and len(names) > 1:
        raise DataError(
            f"{source.name}: some images lie below train/val/test folders and some do not"
        )
    for part in names:
        mine = [row for row in rows if row[0] == part]
        images = np.stack([_with_channels(row[3], grey) for row in mine])
        labels = torch.tensor([index[row[1]] for row in mine])
        parts[part or "train"] = Labeled(_channels_first(images), labels)
    if "train" not in parts:
        raise DataError(
            f"{source.name}: there is no train folder beside {', '.join(sorted(parts))}"
        )
    if source.classes is not None:
        return ImageSet(parts, tuple(source.classes.values()), notes, has_labels=True)
    return ImageSet(parts, folders, notes, tell_classes_apart(folders))


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


def _entries(source: PictureSource) -> Iterator[_Entry]:
    for name, content in source.walk():
        place = place_of(name)
        if place is not None:
            yield _Entry(*place, name, content)


def _decode(
    entry: _Entry, size: tuple[int, int] | None, channels: int | None
) -> NDArray[np.uint8] | None:
    return decode(entry.content, size, channels)
