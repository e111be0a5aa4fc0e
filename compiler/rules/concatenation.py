"""Joining and splitting values along an axis."""

from __future__ import annotations

import numpy as np
import torch
from torch import fx

from compressc.channels.axes import (
    Axes,
    Axis,
    concatenate,
    exactly,
    is_labelled,
    join_axes,
    plain,
    size_of,
)
from compressc.channels.edits import Reindex, SetRange, SetSplits
from compressc.channels.shapes import value_of
from compressc.operators import schema_of
from compressc.rules.broadcasting import broadcast
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value

aten = torch.ops.aten


@rule(aten.cat.default, aten.concat.default, aten.concatenate.default)
def cat(site: Site) -> Value:
    """Channels are concatenated along one axis and joined along the others."""
    pieces = [site.axes_of(node) for node in site.arg("tensors")]
    # torch ignores empty one-dimensional tensors in a concatenation.
    parts = [axes for axes in pieces if axes is not None and not _empty(axes)]
    rank = len(parts[0])
    dim = site.dim("dim", rank)
    joined = broadcast(site, [_without(axes, dim) for axes in parts])
    axis = concatenate(site.space, [axes[dim] for axes in parts], site.name)
    return (*joined[:dim], axis, *joined[dim + 1 :])


def _empty(axes: Axes) -> bool:
    return len(axes) == 1 and size_of(axes[0]) == 0


@rule(aten.stack.default)
def stack(site: Site) -> Value:
    """A new axis of operands whose other axes are joined."""
    parts = [axes for node in site.arg("tensors") if (axes := site.axes_of(node)) is not None]
    dim = site.dim("dim", len(parts[0]) + 1)
    joined = broadcast(site, parts)
    return (*joined[:dim], plain(len(parts)), *joined[dim:])


def _parts(site: Site, name: str = "self") -> Value:
    """Cut an axis into the pieces that the operation returns."""
    x = site.axes(name)
    dim = site.dim("dim", len(x))
    outputs = [site.sizes.shape(value) for value in value_of(site.node)]
    if not is_labelled(x[dim]):
        return [(*x[:dim], plain(shape[dim]), *x[dim + 1 :]) for shape in outputs]
    ids = site.flat(x[dim])
    if ids is None:
        return site.plain_output()
    pieces: list[Axis] = []
    start = 0
    for shape in outputs:
        piece = exactly(ids[start : start + shape[dim]])
        if shape[dim] == 1:
            site.freeze(piece, "takes single channels out of this axis")
        pieces.append(piece)
        start += shape[dim]
    site.edit(SetSplits(site.node.name, dim, tuple(pieces)))
    return [(*x[:dim], piece, *x[dim + 1 :]) for piece in pieces]


@rule(
    aten.split.Tensor,
    aten.split.sizes,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.unsafe_split.Tensor,
    aten.unsafe_chunk.default,
    aten.tensor_split.sections,
    aten.tensor_split.indices,
)
def split(site: Site) -> Value:
    """Each piece keeps its own channels."""
    return _parts(site)


@rule(aten.unbind.int)
def unbind(site: Site) -> Value:
    """Removes an axis; its positions become separate values, so it stays whole."""
    x = site.axes("self")
    dim = site.dim("dim", len(x))
    site.freeze(x[dim], "takes single positions out of this axis")
    return [(*x[:dim], *x[dim + 1 :]) for _ in value_of(site.node)]


@rule(aten.slice.Tensor, aten.narrow.default)
def slice_axis(site: Site) -> Value:
    """A range of channels with step 1 keeps its own channels."""
    x = site.axes("self")
    dim = site.dim("dim", len(x))
    out = site.shape()
    if not is_labelled(x[dim]):
        return (*x[:dim], plain(out[dim]), *x[dim + 1 :])
    narrow = site.node.target is aten.narrow.default
    start = site.arg("start")
    start = 0 if start is None else start
    length = site.arg("length") if narrow else out[dim]
    step = 1 if narrow else site.arg("step")
    size = size_of(x[dim])
    if length == size and not narrow:
        return x
    ids = site.flat(x[dim])
    if not all(isinstance(v, int) for v in (start, length, step)) or ids is None:
        site.freeze(x[dim], "takes a range known only at run time")
        return (*x[:dim], plain(out[dim]), *x[dim + 1 :])
    start = max(start + size, 0) if start < 0 else min(start, size)
    if step != 1 and _is_written(site.node):
        # Lowering would copy what the model writes through.
        site.freeze(x[dim], "writes every n-th channel")
        return (*x[:dim], plain(out[dim]), *x[dim + 1 :])
    if step != 1:
        index = np.arange(start, size, step)[:length]
        result = exactly(ids[index])
        site.edit(Reindex(site.node.name, dim, x[dim], result, index))
        return (*x[:dim], result, *x[dim + 1 :])
    inside = exactly(ids[start : start + length])
    if length == 1:
        site.freeze(inside, "takes single channels out of this axis")
    site.edit(SetRange(site.node.name, site.index("start"), exactly(ids[:start]), inside))
    return (*x[:dim], inside, *x[dim + 1 :])


@rule(aten.select.int)
def select(site: Site) -> Value:
    """Takes one position, so the axis stays whole."""
    x = site.axes("self")
    dim = site.dim("dim", len(x))
    site.freeze(x[dim], "takes single positions out of this axis")
    return (*x[:dim], *x[dim + 1 :])


@rule(aten.slice_scatter.default)
def slice_scatter(site: Site) -> Value:
    """A range of a value is replaced by another value's channels."""
    x, source = site.axes("self"), site.axes("src")
    dim = site.dim("dim", len(x))
    size, length = size_of(x[dim]), size_of(source[dim])
    start, step = site.arg("start") or 0, site.arg("step")
    others = broadcast(site, [_without(x, dim), _without(source, dim)])
    ids = site.flat(x[dim])
    if ids is None:
        site.freeze(source[dim], "is written into an axis that cannot be pruned")
        return (*others[:dim], x[dim], *others[dim + 1 :])
    if not isinstance(start, int) or step != 1:
        site.freeze_all((x[dim], source[dim]), "writes every n-th channel, or at run-time places")
        return (*others[:dim], x[dim], *others[dim + 1 :])
    start = max(start + size, 0) if start < 0 else min(start, size)
    inside = join_axes(site.space, exactly(ids[start : start + length]), source[dim], site.name)
    before = exactly(ids[:start])
    site.edit(SetRange(site.node.name, site.index("start"), before, inside))
    return (*others[:dim], x[dim], *others[dim + 1 :])


@rule(aten.select_scatter.default)
def select_scatter(site: Site) -> Value:
    """One position of an axis is replaced: the axis stays whole."""
    x, source = site.axes("self"), site.axes("src")
    dim = site.dim("dim", len(x))
    site.freeze(x[dim], "writes single positions of this axis")
    joined = broadcast(site, [(*x[:dim], *x[dim + 1 :]), source])
    return (*joined[:dim], x[dim], *joined[dim:])


def _is_written(node: fx.Node) -> bool:
    """Return whether something writes through this view, or through a view of it."""
    for user in node.users:
        schema = schema_of(user)
        if schema is None:
            if _is_written(user):
                return True
            continue
        if schema.is_mutable and user.args[0] is node:
            return True
        aliases = any(result.alias_info is not None for result in schema.returns)
        if aliases and _is_written(user):
            return True
    return False


def _without(axes: Axes, dim: int) -> Axes:
    return (*axes[:dim], plain(1), *axes[dim + 1 :])
