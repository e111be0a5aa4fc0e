"""Tensors made in the graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compressc.channels.axes import Axes, Axis, is_labelled, plain
from compressc.channels.edits import SetSizes
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value

aten = torch.ops.aten

# A longer axis is a token or space axis; giving it ids would only cost memory.
_LONGEST = 65536


def _constant(site: Site, index: int, argument: str, sizes: Sequence[object]) -> Axes:
    axes: list[Axis] = []
    for entry, size in zip(sizes, site.shape(), strict=True):
        free = isinstance(entry, int) and 1 < size <= _LONGEST
        axes.append(site.constant_axis(size) if free else plain(size))
    if any(is_labelled(axis) for axis in axes):
        site.edit(SetSizes(site.node.name, index, argument, tuple(axes)))
    return tuple(axes)


@rule(aten.zeros.default, aten.ones.default, aten.full.default, aten.empty.memory_format)
def create(site: Site) -> Value:
    """All positions are identical, so the tensor may shrink with what it is combined with."""
    return _constant(site, 0, "size", site.arg("size"))


@rule(aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default)
def create_beside(site: Site) -> Value:
    """All positions are identical, so the tensor may shrink with what it is combined with."""
    return _constant(site, 1, "size", site.arg("size"))


@rule(
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.full_like.default,
    aten.empty_like.default,
    aten.rand_like.default,
    aten.randn_like.default,
)
def create_like(site: Site) -> Value:
    """Takes its shape from a value, so it shrinks with it."""
    return site.axes("self")
