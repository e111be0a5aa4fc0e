"""An index of pictures, from names alone: for data too large to decode.

A million pictures must not be a million objects: an index holds one array per column, about 60
bytes for each picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressc.datasets.picture_names import place_of, tell_classes_apart
from compressc.datasets.picture_sources import PictureSource, Stored
from compressc.datasets.splitting import TEST_SHARE, VALIDATION_SHARE
from compressc.errors import DataError


@dataclass(frozen=True, eq=False)
class Pictures:
    """Encoded pictures that lie elsewhere, column by column.

    Attributes:
        source: reads them.
        names: of each, UTF-8.
        places: what the source reads each by.
        sizes: bytes of each.
        labels: the number of its class; 0 for all where no classes are told apart.
    """

    source: PictureSource
    names: NDArray[np.bytes_]
    places: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64] | Tensor) -> Pictures:
        """Return the pictures at some positions (K,)."""
        rows = np.asarray(rows, np.int64)
        return Pictures(
            self.source,
            self.names[rows],
            self.places[rows],
            self.sizes[rows],
            self.labels[rows],
        )

    def name(self, place: int) -> str:
        """Return what a picture is called."""
        return bytes(self.names[place]).decode(errors="surrogateescape")

    def read(self, place: int) -> bytes:
        """Return a picture as it is stored.

        Raises:
            DataError: if it is not there any more.
        """
        where, size = int(self.places[place]), int(self.sizes[place])
        return self.source.read(Stored(self.name(place), where, size))

    def content(self) -> tuple[object, ...]:
        """Return what a digest is made of."""
        return self.names, self.sizes, self.labels


@dataclass(frozen=True, eq=False)
class PictureIndex:
    """Pictures of a source.

    Attributes:
        name: of the source.
        parts: "train", "val" and "test" where classes are told apart, else "train" alone.
        classes: names in the order of labels; empty where none are told apart.
    """

    name: str
    parts: Mapping[str, Pictures]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))


def index_pictures(source: PictureSource, seed: int) -> PictureIndex:
    """Return the pictures of a source, in splits where folders tell classes apart.

    Args:
        source: class sub-folders, below train, val and test or without such parts; images beside
            such folders are left out. Without class folders all images count, whatever the part.
        seed: decides the splits that the source does not have.

    Raises:
        DataError: if images lie below train/val/test folders and beside them, or there is no
            training part.
    """
    listed = [(*(place_of(stored.name) or ("", "")), stored) for stored in source.list()]
    rows = sorted([row for row in listed if row[1]] or listed)
    folders = tuple(source.classes or sorted({folder for _, folder, _ in rows}))
    names = tuple(source.classes.values()) if source.classes else folders
    labeled = source.classes is not None or tell_classes_apart(folders)
    number = {folder: label for label, folder in enumerate(folders)} if labeled else {}
    whole = Pictures(
        source,
        np.array([row[2].name.encode(errors="surrogateescape") for row in rows], np.bytes_),
        np.array([row[2].place for row in rows], np.int64),
        np.array([row[2].size for row in rows], np.int64),
        np.array([number.get(row[1], 0) for row in rows], np.int64),
    )
    if not labeled:
        return PictureIndex(source.name, {"train": whole}, ())
    marks = np.array([part or "train" for part, _, _ in rows])
    parts = {str(mark): whole.take(np.flatnonzero(marks == mark)) for mark in np.unique(marks)}
    told = {part for part, _, _ in rows}
    if "train" not in parts or ("" in told and len(told) > 1):
        raise DataError(
            f"{source.name}: put all class folders below train/ (and val/, test/), or none of them"
        )
    for part, share, own in (("test", TEST_SHARE, seed), ("val", VALIDATION_SHARE, seed + 1)):
        if part not in parts:
            parts["train"], parts[part] = _carve(parts["train"], share, own)
    return PictureIndex(source.name, parts, names)


def _carve(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures]:
    """Split pictures in two, with every class at its share in both."""
    generator = torch.Generator().manual_seed(seed)
    chosen = np.zeros(len(pictures), bool)
    for label in np.unique(pictures.labels):
        members = np.flatnonzero(pictures.labels == label)
        order = torch.randperm(len(members), generator=generator).numpy()
        chosen[members[order[: max(1, round(share * len(members)))]]] = True
    return pictures.take(np.flatnonzero(~chosen)), pictures.take(np.flatnonzero(chosen))
