"""Factors as reports show them: counted by level, and as a matrix of few cells."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from compressc.factor_picture import LEVEL_STARTS, FactorPicture

# Cells of a picture on each side at most, and digits of a cell.
_CELLS, _DIGITS = 48, 3


def count_levels(factors: Tensor) -> list[float]:
    """Return the share of factors on each level: 0, above it, and so on.

    Shape:
        factors: any.
    """
    edges = torch.tensor(LEVEL_STARTS[1:], dtype=factors.dtype, device=factors.device)
    # Level 1 begins right above 0.
    level = torch.bucketize(factors.detach(), edges, right=True) + (factors != 0)
    counts = torch.bincount(level.flatten(), minlength=len(LEVEL_STARTS) + 1)
    return [float(count) / factors.numel() for count in counts]


def draw(layer: str, factors: Tensor, levels: Sequence[Sequence[float]]) -> FactorPicture:
    """Return the picture of a layer's factors.

    Args:
        layer: its name.
        factors: at the end, (rows, columns) or (rows, 1).
        levels: as :func:`count_levels` gave them after each epoch.
    """
    rows, columns = factors.shape
    cells = (min(rows, _CELLS), min(columns, _CELLS))
    living = adaptive_avg_pool2d((factors != 0).float()[None], cells)[0]
    sums = adaptive_avg_pool2d(factors.float()[None], cells)[0]
    means = torch.where(living > 0, sums / living.clamp_min(1e-12), 0.0)
    return FactorPicture(
        layer, rows, columns, _plain(1 - living), _plain(means), _plain(torch.tensor(levels))
    )


def _plain(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(value, _DIGITS) for value in row) for row in values.tolist())
