"""Views: axes are merged into factors and factors are split into axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from compressc.array_types import IntArray
from compressc.channels.axes import Axes, Axis, Factor, is_labelled, plain, size_of
from compressc.channels.edits import SetSizes
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value

aten = torch.ops.aten

# A longer axis is a token or space axis; giving it ids would only cost memory.
_LONGEST = 65536


def regroup(site: Site, source: Sequence[Axis], sizes: Sequence[int]) -> Axes:
    """Match the factors of ``source`` to axes of the given sizes, row major.

    Merged axes keep their factors, so that the inverse view finds them again. A labelled factor
    that must be split keeps either its inner part (the same positions leave in every block) or
    its outer part (whole blocks leave).
    """
    result: list[Axis] = []
    pending = _merge_plain([factor for axis in source for factor in axis if factor.size != 1])
    if any(factor.size == 0 for factor in pending):
        return _give_up(site, source, sizes)
    for size in reversed(sizes):
        taken: list[Factor] = []
        missing = size
        while missing != 1:
            if not pending:
                return _give_up(site, source, sizes)
            factor = pending.pop()
            if missing % factor.size == 0:
                taken.append(factor)
                missing //= factor.size
            elif factor.size % missing == 0:
                outer, inner = split_factor(site, factor, missing)
                pending.append(outer)
                taken.append(inner)
                missing = 1
            else:
                return _give_up(site, source, sizes)
        result.append(tuple(reversed(taken)) or plain(size))
    if pending:
        return _give_up(site, source, sizes)
    return tuple(reversed(result))


def _merge_plain(factors: Sequence[Factor]) -> list[Factor]:
    """Merge neighbouring factors that cannot be pruned: their border does not matter."""
    merged: list[Factor] = []
    for factor in factors:
        if merged and merged[-1].ids is None and factor.ids is None:
            origin = merged[-1].origin or factor.origin
            merged[-1] = Factor(merged[-1].size * factor.size, None, origin)
        else:
            merged.append(factor)
    return merged


def _give_up(site: Site, source: Sequence[Axis], sizes: Sequence[int]) -> Axes:
    """Axes that match without looking inside pass; the others are pinned."""
    head: list[Axis] = []
    for axis, size in zip(source, sizes, strict=False):
        if size_of(axis) != size:
            break
        head.append(axis)
    rest_source, rest_sizes = list(source[len(head) :]), list(sizes[len(head) :])
    tail: list[Axis] = []
    while rest_source and rest_sizes and size_of(rest_source[-1]) == rest_sizes[-1]:
        tail.insert(0, rest_source.pop())
        rest_sizes.pop()
    site.freeze_all(rest_source, "reshapes these channels in a way that mixes them")
    return (*head, *(plain(size) for size in rest_sizes), *tail)


def split_factor(
    site: Site, factor: Factor, inner: int, *, blocks: bool = False
) -> tuple[Factor, Factor]:
    """Split a factor into (outer, inner) and couple what a rectangular removal needs.

    With ``blocks`` whole blocks leave, whatever propagation would choose.
    """
    outer = factor.size // inner
    if factor.ids is None:
        return Factor(outer, None, factor.origin), Factor(inner, None, factor.origin)
    table = factor.ids.reshape(outer, inner)
    if bool((table == table[:1]).all()):
        return Factor(outer, None, _blocks_of(site)), Factor(inner, table[0])
    if bool((table == table[:, :1]).all()):
        return Factor(outer, np.ascontiguousarray(table[:, 0])), Factor(inner)
    if blocks:
        return Factor(outer, _join_columns(site, table)), Factor(inner)
    whole = site.whole_blocks(outer, inner)
    ids = _join_columns(site, table) if whole else _join_rows(site, table)
    site.note_split(outer, inner, ids, blocks=whole)
    if whole:
        return Factor(outer, ids), Factor(inner, None, f"the channels of a block of {site.name}")
    return Factor(outer, None, _blocks_of(site)), Factor(inner, ids)


def _blocks_of(site: Site) -> str:
    return f"the blocks of {site.name}, such as heads, in which the same channels leave"


def _join_rows(site: Site, blocks: IntArray) -> IntArray:
    first = np.ascontiguousarray(blocks[0])
    site.space.join(np.tile(first, len(blocks) - 1), blocks[1:].reshape(-1))
    return first


def _join_columns(site: Site, blocks: IntArray) -> IntArray:
    first = np.ascontiguousarray(blocks[:, 0])
    site.space.join(np.repeat(first, blocks.shape[1]), blocks.reshape(-1))
    return first


def _viewed(site: Site, index: int, argument: str, entries: Sequence[Any]) -> Axes:
    axes = list(regroup(site, site.axes("self"), site.shape()))
    open_entries = sum(isinstance(entry, int) and entry == -1 for entry in entries)
    for position, entry in enumerate(entries):
        if is_labelled(axes[position]) and not isinstance(entry, int):
            # Lowering can write -1 for one size that the graph computes.
            open_entries += 1
            if open_entries > 1:
                site.freeze(axes[position], "computes this size in the graph")
                axes[position] = plain(size_of(axes[position]))
    if any(is_labelled(axis) for axis in axes):
        site.edit(SetSizes(site.node.name, index, argument, tuple(axes)))
    return tuple(axes)


@rule(aten.view.default, aten._unsafe_view.default)
def view(site: Site) -> Value:
    """``view(size)``."""
    return _viewed(site, 1, "size", site.arg("size"))


@rule(aten.reshape.default)
def reshape(site: Site) -> Value:
    """``reshape(shape)``."""
    return _viewed(site, 1, "shape", site.arg("shape"))


@rule(aten.flatten.using_ints)
def flatten(site: Site) -> Value:
    """Merging needs no edit."""
    return regroup(site, site.axes("self"), site.shape())


@rule(aten.unflatten.int)
def unflatten(site: Site) -> Value:
    """``unflatten(dim, sizes)``."""
    x = site.axes("self")
    dim = site.dim("dim", len(x))
    sizes = site.arg("sizes")
    axes = regroup(site, x, site.shape())
    inner = axes[dim : dim + len(sizes)]
    if any(is_labelled(axis) for axis in inner):
        site.edit(SetSizes(site.node.name, 2, "sizes", inner))
    return axes


@rule(aten.expand.default)
def expand(site: Site) -> Value:
    """An axis of size 1 becomes identical positions, which may shrink with other operands."""
    x = site.axes("self")
    sizes = list(site.arg("size"))
    shape = site.shape()
    lead = len(shape) - len(x)
    axes: list[Axis] = []
    for position, size in enumerate(shape):
        source = x[position - lead] if position >= lead else plain(1)
        if size_of(source) == size:
            axes.append(source)
        elif isinstance(sizes[position], int) and size <= _LONGEST:
            axes.append(site.constant_axis(size))
        else:
            axes.append(plain(size))
    if any(is_labelled(axis) for axis in axes):
        site.edit(SetSizes(site.node.name, 1, "size", tuple(axes)))
    return tuple(axes)


@rule(aten.expand_as.default, aten.view_as.default, aten.reshape_as.default)
def expand_like(site: Site) -> Value:
    """Takes the shape of another value, so no size is baked in."""
    x, other = site.axes("self"), site.axes("other")
    if site.node.target is not aten.expand_as.default:
        return regroup(site, x, site.shape())
    lead = len(other) - len(x)
    return tuple(
        axis if position < lead or size_of(x[position - lead]) == 1 else x[position - lead]
        for position, axis in enumerate(other)
    )


@rule(aten.repeat.default, aten.tile.default)
def repeat(site: Site) -> Value:
    """Copies of an axis add a factor in front of it; copies of one position may shrink."""
    x = site.axes("self")
    name = "repeats" if site.node.target is aten.repeat.default else "dims"
    counts = list(site.arg(name))
    shape = site.shape()
    lead = len(shape) - len(x)
    axes: list[Axis] = []
    copied = False
    for position, size in enumerate(shape):
        source = x[position - lead] if position >= lead else plain(1)
        count = size // max(size_of(source), 1)
        if count == 1:
            axes.append(source)
        elif is_labelled(source):
            axes.append((Factor(count), *source))
        elif size_of(source) == 1 and count <= _LONGEST and len(counts) == len(shape):
            axes.append(site.constant_axis(count))
            copied = copied or isinstance(counts[position], int)
        else:
            axes.append(plain(size))
    if copied:
        # Only copied axes are rewritten: what others repeat by does not change.
        entries = [
            axis if size_of(x[i - lead] if i >= lead else plain(1)) == 1 else plain(size_of(axis))
            for i, axis in enumerate(axes)
        ]
        site.edit(SetSizes(site.node.name, 1, name, tuple(entries)))
    return tuple(axes)


@rule(aten.repeat_interleave.self_int)
def repeat_interleave(site: Site) -> Value:
    """Each position is followed by its copies."""
    x = site.axes("self")
    dim = site.arg("dim")
    if dim is None or not isinstance(site.arg("repeats"), int):
        site.freeze_all(x, "repeats a flattened value")
        return site.plain_output()
    dim = dim % len(x)
    return (*x[:dim], (*x[dim], Factor(int(site.arg("repeats")))), *x[dim + 1 :])


@rule(aten.view_as_complex.default)
def view_as_complex(site: Site) -> Value:
    """The last axis holds real and imaginary parts."""
    x = site.axes("self")
    site.freeze(x[-1], "holds real and imaginary parts")
    return x[:-1]


@rule(aten.view_as_real.default)
def view_as_real(site: Site) -> Value:
    """A new last axis holds real and imaginary parts."""
    return (*site.axes("self"), plain(2))
