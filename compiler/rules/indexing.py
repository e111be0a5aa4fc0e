"""Picking positions by index: tables, constant orders, gathers and their inverses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import fx

from compressc.array_types import IntArray
from compressc.channels.axes import Axes, Axis, exactly, join_axes, plain, size_of
from compressc.channels.edits import Reindex
from compressc.channels.shapes import value_of
from compressc.errors import RuleError
from compressc.rules.broadcasting import broadcast
from compressc.rules.registry import freeze_inputs, rule
from compressc.rules.site import STRUCTURAL, Site, Value

aten = torch.ops.aten


def _ids(axis: Axis) -> IntArray:
    if axis[0].ids is None:
        raise RuleError("an index without positions")
    return axis[0].ids


def _constant_index(site: Site, index: object) -> IntArray | None:
    """Return the numbers of a constant one-dimensional index."""
    constant = site.constant_of(index) if isinstance(index, fx.Node) else None
    if constant is None or constant.dim() != 1 or constant.dtype not in (torch.int64, torch.int32):
        return None
    numbers: IntArray = constant.to(torch.int64).cpu().numpy()
    return numbers


def _freeze_table(site: Site, source: object, axis: Axis) -> None:
    """Pin an axis that is looked up; for a parameter (a table) nobody would ask why."""
    table = isinstance(source, fx.Node) and source.op == "get_attr"
    site.freeze(axis, STRUCTURAL if table else "picks positions by an index known only at run time")


def _pick(site: Site, x: Axes, dim: int, source: fx.Node, index: IntArray) -> Axes:
    """Take channels in a constant order; lowering counts it in kept positions."""
    ids, entries = site.flat(x[dim]), site.axes_of(source) or ()
    if ids is not None:
        index = np.where(index < 0, index + len(ids), index)
    if ids is not None and site.single_user(source) and len(index) > 1:
        # The index is as long as what it picks.
        site.space.join(ids[index], _ids(entries[0]))
    else:
        site.freeze_all(entries, STRUCTURAL)
    if ids is None:
        return (*x[:dim], plain(len(index)), *x[dim + 1 :])
    result = exactly(ids[index])
    site.edit(Reindex(site.node.name, dim, x[dim], result, index))
    return (*x[:dim], result, *x[dim + 1 :])


@rule(aten.index_select.default)
def index_select(site: Site) -> Value:
    """Channels chosen by a constant index, as in a channel shuffle."""
    x = site.axes("self")
    dim = site.dim("dim", len(x))
    index = _constant_index(site, site.arg("index"))
    if index is not None:
        return _pick(site, x, dim, site.arg("index"), index)
    site.freeze_all(site.axes_of(site.arg("index")) or (), STRUCTURAL)
    _freeze_table(site, site.arg("self"), x[dim])
    return (*x[:dim], plain(site.shape()[dim]), *x[dim + 1 :])


def _indexed(indices: Sequence[object]) -> tuple[list[int], int, int] | None:
    """Return the indexed axes, the rank of the index and where its axes go; None for masks."""
    places = [dim for dim, index in enumerate(indices) if isinstance(index, fx.Node)]
    rank = 0
    for dim in places:
        value = value_of(indices[dim])  # type: ignore[arg-type]
        if value.dtype in (torch.bool, torch.uint8):
            return None
        rank = max(rank, value.dim())
    adjacent = places == list(range(places[0], places[-1] + 1)) if places else True
    return places, rank, places[0] if places and adjacent else 0


@rule(aten.index.Tensor)
def index_tensor(site: Site) -> Value:
    """``x[:, index]``: indexed axes stay whole unless the index is a constant list."""
    x = site.axes("self")
    indices = list(site.arg("indices"))
    indexed = _indexed(indices)
    if indexed is None:
        return freeze_inputs(site, "picks positions by a mask")
    places, rank, start = indexed
    if len(places) == 1:
        index = _constant_index(site, indices[places[0]])
        if index is not None and site.flat(x[places[0]]) is not None:
            return _pick(site, x, places[0], indices[places[0]], index)
    for dim in places:
        site.freeze_all(site.axes_of(indices[dim]) or (), STRUCTURAL)
        _freeze_table(site, site.arg("self"), x[dim])
    shape = site.shape()
    rest = [axis for dim, axis in enumerate(x) if dim not in places]
    middle = [plain(size) for size in shape[start : start + rank]]
    return (*rest[:start], *middle, *rest[start:])


@rule(aten.index_put.default, aten.index_put_.default)
def index_put(site: Site) -> Value:
    """``x[index] = values``: indexed axes stay whole, the others are joined."""
    x = site.axes("self")
    indexed = _indexed(list(site.arg("indices")))
    if indexed is None:
        freeze_inputs(site, "writes to positions given by a mask")
        return x
    places, rank, start = indexed
    for dim in places:
        site.freeze_all(site.axes_of(site.arg("indices")[dim]) or (), STRUCTURAL)
    site.freeze_all([x[dim] for dim in places], "writes to positions known only at run time")
    rest = [axis for dim, axis in enumerate(x) if dim not in places]
    values = list(site.axes("values"))
    target = (*rest[:start], *[plain(1)] * rank, *rest[start:])
    for position in range(start, start + rank):
        offset = position - len(target) + len(values)
        if offset >= 0:
            site.freeze(values[offset], "is written to positions known only at run time")
    broadcast(site, [target, tuple(values)])
    return x


@rule(aten.gather.default)
def gather(site: Site) -> Value:
    """Picks along one axis, which stays whole; the others are joined with the index."""
    return _along(site, [site.axes("self"), site.axes("index")], site.axes("index"))


@rule(aten.scatter.src, aten.scatter_.src, aten.scatter_add.default, aten.scatter_add_.default)
def scatter(site: Site) -> Value:
    """Writes along one axis, which stays whole; the others are joined with index and source."""
    operands = [site.axes("self"), site.axes("index"), site.axes("src")]
    return _along(site, operands, site.axes("self"))


@rule(aten.scatter.value, aten.scatter_.value)
def scatter_value(site: Site) -> Value:
    """Writes along one axis, which stays whole; the others are joined with the index."""
    return _along(site, [site.axes("self"), site.axes("index")], site.axes("self"))


def _along(site: Site, operands: Sequence[Axes], result: Axes) -> Value:
    dim = site.dim("dim", len(operands[0]))
    axes = list(result)
    for axis in range(len(axes)):
        parts = [operand[axis] for operand in operands]
        if axis == dim or len({size_of(part) for part in parts}) > 1:
            site.freeze_all(parts, "picks positions by an index known only at run time")
            continue
        for part in parts:
            axes[axis] = join_axes(site.space, axes[axis], part, site.name)
    return tuple(axes)


@rule(aten.topk.default, aten.sort.default, aten.sort.stable)
def ranked(site: Site) -> Value:
    """Values in order along one axis, which stays whole."""
    x = site.axes("self")
    dim = site.dim("dim", len(x))
    site.freeze(x[dim], "sorts this axis")
    out = (*x[:dim], plain(site.sizes.shape(value_of(site.node)[0])[dim]), *x[dim + 1 :])
    return [out, out]


@rule(aten.embedding.default)
def embedding(site: Site) -> Value:
    """A row of the table for every index; the table's columns are channels."""
    table, index = site.axes("weight"), site.axes("indices")
    site.freeze(table[0], STRUCTURAL)
    site.freeze_all(index, STRUCTURAL)
    return (*(plain(size_of(axis)) for axis in index), table[1])
