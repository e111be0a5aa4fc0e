"""Pictures too many for memory: decoded when they are needed, by worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from compressc.datasets.decoding import decode
from compressc.datasets.picture_index import Pictures
from compressc.errors import DataError
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import LEAST_DEVIATION, as_pixels

_WORKERS = 4
# Images from which mean and deviation are estimated.
_ESTIMATED_ON = 512
# The part of a picture's area that a training crop keeps at least.
_LEAST_CROP = 0.35
# Which picture, and the seed of its crop; None for the whole picture.
_Item = tuple[int, int | None]


@dataclass(frozen=True, eq=False)
class DecodedPictures(Dataset[tuple[Tensor, int]]):
    """Pictures as uint8, decoded when asked for.

    Attributes:
        pictures: where they lie, with their labels.
        size: (height, width) that they are scaled and cropped to.
        channels: 1 or 3.
    """

    pictures: Pictures
    size: tuple[int, int]
    channels: int

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, item: _Item | int) -> tuple[Tensor, int]:
        """Return a picture (C, H, W) and its label; with a seed, a random part of the picture.

        Raises:
            DataError: if it cannot be decoded.
        """
        place, seed = item if isinstance(item, tuple) else (item, None)
        share, corner = 1.0, [0.5, 0.5]
        if seed is not None:
            drawn = torch.rand(3, generator=torch.Generator().manual_seed(seed)).tolist()
            share, corner = _LEAST_CROP + (1 - _LEAST_CROP) * drawn[0], drawn[1:]
        pixels = decode(self.pictures.read(place), self.size, self.channels, share, corner)
        if pixels is None:
            name = self.pictures.name(place)
            raise DataError(f"{name}: cannot be read as an image; repair or remove it")
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return image, int(self.pictures.labels[place])


def walk_pictures(
    decoded: DecodedPictures, batches: Sequence[Tensor], crops: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (N, C, H, W) as uint8 and labels (N,), batch by batch.

    Args:
        decoded: the pictures.
        batches: the rows of each batch.
        crops: draws a random part of every picture, as is usual in training; None for whole ones.
    """
    listed: list[list[_Item]] = []
    for rows in batches:
        seeds: Sequence[int | None] = [None] * len(rows)
        if crops is not None:
            seeds = torch.randint(2**62, (len(rows),), generator=crops).tolist()
        listed.append(list(zip(rows.tolist(), seeds, strict=True)))
    sampler: Any = listed
    yield from DataLoader(decoded, batch_sampler=sampler, num_workers=_workers(len(listed)))


def estimate_normalization(decoded: DecodedPictures) -> Normalization:
    """Return mean and deviation of each channel, of some pictures."""
    places = torch.randperm(len(decoded), generator=torch.Generator().manual_seed(0))
    chosen = [as_pixels(decoded[int(place)][0]) for place in places[:_ESTIMATED_ON]]
    std, mean = torch.std_mean(torch.stack(chosen).double(), dim=(0, 2, 3))
    deviations = tuple(max(round(float(x), 4), LEAST_DEVIATION) for x in std)
    return Normalization(tuple(round(float(x), 4) for x in mean), deviations)


def _workers(batches: int) -> int:
    """Return how many processes decode: one for each core but the caller's, none for one batch."""
    return min(_WORKERS, max(0, (os.cpu_count() or 1) - 1), batches - 1 if batches else 0)
