"""Patches: convolutions and linear layers as one matrix product per conv group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from compressc.factors.sites import CONVOLUTIONS
from compressc.operators import argument_of

aten = torch.ops.aten

LAYERS = CONVOLUTIONS | {aten.linear.default}


@dataclass(frozen=True)
class Geometry:
    """How a layer reads its input; a linear layer has no spatial axes.

    Attributes:
        kernel, stride, padding, dilation: per spatial axis; padding as (before, after).
        conv_groups: 1 for linear layers.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    conv_groups: int

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)


def read_geometry(node: fx.Node, weight: Tensor) -> Geometry:
    """Return how a convolution or linear node reads its input."""
    if node.target is aten.linear.default:
        return Geometry((), (), (), (), 1)
    kernel = tuple(weight.shape[2:])
    rank = len(kernel)
    stride, dilation = (_spread(argument_of(node, name), rank) for name in ("stride", "dilation"))
    padding = argument_of(node, "padding")
    sides: tuple[tuple[int, int], ...]
    if padding == "valid":
        sides = ((0, 0),) * rank
    elif padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        sides = tuple((total // 2, total - total // 2) for total in totals)
    else:
        sides = tuple((pad, pad) for pad in _spread(padding, rank))
    return Geometry(kernel, stride, sides, dilation, int(argument_of(node, "groups")))


def _spread(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * rank
    return tuple(value) * (rank if len(value) == 1 else 1)


@dataclass(frozen=True)
class Grid:
    """Which output positions take part: every ``step``-th on each spatial axis, from ``start``."""

    step: int = 1
    start: int = 0

    @property
    def positions(self) -> slice:
        """The positions on one axis."""
        return slice(self.start, None, self.step)


EVERYWHERE = Grid()


def unfold_input(x: Tensor, geometry: Geometry, grid: Grid = EVERYWHERE) -> Tensor:
    """Return what output positions multiply with the weights.

    Shape:
        x (batch, channels, *space) or, for a linear layer, (*any, features); output
        (conv_groups, rows, features of one conv group), features ordered as in the weight.
    """
    if not geometry.rank:
        return x.reshape(1, -1, x.shape[-1])
    pads = [side for sides in reversed(geometry.padding) for side in sides]
    x = F.pad(x, pads) if any(pads) else x
    for axis in range(geometry.rank):
        reach = geometry.dilation[axis] * (geometry.kernel[axis] - 1) + 1
        x = x.unfold(axis + 2, reach, geometry.stride[axis])[..., :: geometry.dilation[axis]]
    x = x[(slice(None), slice(None), *[grid.positions] * geometry.rank)]
    groups = (geometry.conv_groups, x.shape[1] // geometry.conv_groups)
    x = x.reshape(len(x), *groups, *x.shape[2:]) if geometry.conv_groups > 1 else x[:, None]
    space = range(3, 3 + geometry.rank)
    window = range(3 + geometry.rank, 3 + 2 * geometry.rank)
    x = x.permute(1, 0, *space, 2, *window)
    rows = prod(x.shape[1 : 2 + geometry.rank])
    return x.reshape(geometry.conv_groups, rows, prod(x.shape[2 + geometry.rank :]))


def rows_of_output(y: Tensor, geometry: Geometry, grid: Grid = EVERYWHERE) -> Tensor:
    """Return a layer's output in the row order of :func:`unfold_input`.

    Shape:
        y (batch, channels, *space) or (*any, features); output (conv_groups, rows, outputs of one
        conv group).
    """
    if not geometry.rank:
        return y.reshape(1, -1, y.shape[-1])
    y = y[(slice(None), slice(None), *[grid.positions] * geometry.rank)]
    rows = y.movedim(1, -1).reshape(-1, geometry.conv_groups, y.shape[1] // geometry.conv_groups)
    return rows.movedim(1, 0)
