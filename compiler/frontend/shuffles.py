"""Channel shuffles spelled as views: they become one index_select with a constant order."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import fx

from compressc.channels.edits import attach_index

aten = torch.ops.aten

_CUTS = (
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten.unflatten.int,
)
_MERGES = (*_CUTS[:3], aten.flatten.using_ints)
_COPIES = (aten.contiguous.default, aten.clone.default)


def rewrite_shuffles(module: fx.GraphModule) -> None:
    """Given view(b, g, c/g, …), permute, view(b, c, …). Result: index_select.

    The permutation inside one axis becomes a constant index on it, so that channels stay free to
    leave one by one. Any number of factors in any order is recognised, as long as they stay in
    their axis.
    """
    graph = module.graph
    for last in list(graph.nodes):
        if last.target not in _MERGES:
            continue
        middle = _before(last)
        first = middle.args[0] if middle is not None and middle.args else None
        if not isinstance(first, fx.Node) or first.target not in _CUTS:
            continue
        source = first.args[0]
        if middle is None or not isinstance(source, fx.Node):
            continue
        before, inner, after = (node.meta["val"].shape for node in (source, first, last))
        order = _order(middle, len(inner))
        axis = None if order is None else _shuffled_axis(order, before, inner, after)
        if order is None or axis is None:
            continue
        sizes = [int(size) for size in inner[axis : axis + len(inner) - len(before) + 1]]
        inside = [dim - axis for dim in order[axis : axis + len(sizes)]]
        index = torch.arange(prod(sizes)).view(sizes).permute(inside).reshape(-1)
        with graph.inserting_before(last):
            node = graph.call_function(aten.index_select.default, (source, axis, None))
        node.meta = {**last.meta}
        attach_index(module, node, 2, index.tolist())
        last.replace_all_uses_with(node)
        graph.erase_node(last)


def _before(node: fx.Node) -> fx.Node | None:
    """Return what a node reads, copies left out."""
    source: Any = node.args[0]
    while isinstance(source, fx.Node) and source.target in _COPIES:
        source = source.args[0]
    return source if isinstance(source, fx.Node) else None


def _order(node: fx.Node, rank: int) -> list[int] | None:
    """Return where each axis of a permutation comes from, or None if the node is none."""
    dims: Any = node.args[1:]
    if node.target is aten.permute.default:
        return [int(dim) % rank for dim in dims[0]]
    if node.target is aten.transpose.int:
        order = list(range(rank))
        first, second = int(dims[0]) % rank, int(dims[1]) % rank
        order[first], order[second] = second, first
        return order
    return None


def _shuffled_axis(
    order: Sequence[int], before: Sequence[Any], inner: Sequence[Any], after: Sequence[Any]
) -> int | None:
    """Return the axis inside which positions move, or None if this is no shuffle."""
    extra = len(inner) - len(before)
    if extra < 1 or len(before) != len(after) or list(order) == sorted(order):
        return None
    moved = [place for place, dim in enumerate(order) if place != dim]
    for axis in range(len(before)):
        cut = inner[axis : axis + extra + 1]
        inside = axis <= moved[0] and moved[-1] <= axis + extra
        if not inside or not all(isinstance(size, int) for size in (*cut, before[axis])):
            continue
        rest = [*inner[:axis], *inner[axis + extra + 1 :]]
        kept = [*before[:axis], *before[axis + 1 :]]
        result = [*after[:axis], *after[axis + 1 :]]
        same = [str(size) for size in rest] == [str(size) for size in kept]
        whole = prod(int(size) for size in cut) == before[axis] == after[axis]
        if whole and same and [str(size) for size in result] == [str(size) for size in kept]:
            return axis
    return None
