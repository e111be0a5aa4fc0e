"""An index of image files by class, read from names alone: for folders too large to decode."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from compressc.datasets.image_files import place_of
from compressc.datasets.splitting import TEST_SHARE, VALIDATION_SHARE
from compressc.errors import DataError


@dataclass(frozen=True)
class ImageFile:
    """One file: its name in the folder, where it lies, how large it is, and its class."""

    name: str
    path: Path
    size_bytes: int
    label: int


@dataclass(frozen=True)
class FileIndex:
    """Image files in three splits.

    Attributes:
        name: of the folder.
        parts: files of "train", "val" and "test".
        classes: names in alphabetical order, as labels count.
    """

    name: str
    parts: Mapping[str, Sequence[ImageFile]]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))


def count_images(folder: Path) -> int:
    """Return how many image files lie below a folder, by their names."""
    return sum(place_of(name) is not None for _, _, names in os.walk(folder) for name in names)


def index_images(folder: Path, seed: int) -> FileIndex | None:
    """Return the labelled image files below a folder in splits; None where there are no labels.

    Args:
        folder: class sub-folders, below train, val and test or without such parts.
        seed: decides the splits that the folder does not have.

    Raises:
        DataError: if images lie below train/val/test folders and beside them, or there is no
            training part.
    """
    rows: list[tuple[str, str, str, Path]] = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            inside = path.relative_to(folder).as_posix()
            place = place_of(inside)
            if place is not None and place[1]:
                rows.append((*place, inside, path))
    rows.sort(key=lambda row: row[:3])
    classes = tuple(sorted({row[1] for row in rows}))
    if len(classes) < 2:
        return None
    number = {name: label for label, name in enumerate(classes)}
    parts: dict[str, list[ImageFile]] = {}
    for part, label, inside, path in rows:
        file = ImageFile(inside, path, path.stat().st_size, number[label])
        parts.setdefault(part or "train", []).append(file)
    if "train" not in parts or {row[0] for row in rows} > {""}:
        raise DataError(
            f"{folder}: put all class folders below train/ (and val/, test/), or none of them"
        )
    for part, share, own in (("test", TEST_SHARE, seed), ("val", VALIDATION_SHARE, seed + 1)):
        if part not in parts:
            parts["train"], parts[part] = _carve(parts["train"], share, own)
    return FileIndex(folder.name, {name: tuple(files) for name, files in parts.items()}, classes)


def _carve(
    files: Sequence[ImageFile], share: float, seed: int
) -> tuple[list[ImageFile], list[ImageFile]]:
    """Split files in two, with every class at its share in both."""
    generator = torch.Generator().manual_seed(seed)
    by_label: dict[int, list[int]] = {}
    for place, file in enumerate(files):
        by_label.setdefault(file.label, []).append(place)
    chosen: set[int] = set()
    for label in sorted(by_label):
        members = by_label[label]
        order = torch.randperm(len(members), generator=generator).tolist()
        chosen.update(members[i] for i in order[: max(1, round(share * len(members)))])
    rest = [file for place, file in enumerate(files) if place not in chosen]
    return rest, [files[place] for place in sorted(chosen)]
