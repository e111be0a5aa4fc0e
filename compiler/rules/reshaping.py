"""Views: axes are merged into factors and factors are split into axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from compressc.axes import Axes, Axis, Factor, IntArray, is_labelled, plain, size_of
from compressc.edits import SetSizes
from compressc.rules.registry import Site, Value, rule
from compressc.shapes import is_symbolic

aten = torch.ops.aten


def regroup(site: Site, source: Sequence[Axis], sizes: Sequence[int]) -> Axes:
    """Match the factors of ``source`` to axes of the given sizes, row major.

    Merged axes keep their factors, so that the inverse view finds them again. A labelled factor
    that must be split keeps either its inner part (the same positions leave in every block) or
    its outer part (whole blocks leave).
    """
    result: list[Axis] = []
    pending = [factor for axis in source for factor in axis if factor.size != 1]
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


def split_factor(site: Site, factor: Factor, inner: int) -> tuple[Factor, Factor]:
    """Split a factor into (outer, inner) and couple what a rectangular removal needs."""
    outer = factor.size // inner
    if factor.ids is None:
        return Factor(outer), Factor(inner)
    blocks = factor.ids.reshape(outer, inner)
    if bool((blocks == blocks[:1]).all()):
        return Factor(outer), Factor(inner, blocks[0])
    if bool((blocks == blocks[:, :1]).all()):
        return Factor(outer, np.ascontiguousarray(blocks[:, 0])), Factor(inner)
    if site.whole_blocks(outer, inner):
        return Factor(outer, _join_columns(site, blocks)), Factor(inner)
    return Factor(outer), Factor(inner, _join_rows(site, blocks))


def _join_rows(site: Site, blocks: IntArray) -> IntArray:
    for row in blocks[1:]:
        site.space.join(blocks[0], row)
    return np.ascontiguousarray(blocks[0])


def _join_columns(site: Site, blocks: IntArray) -> IntArray:
    first = np.ascontiguousarray(blocks[:, 0])
    for column in range(1, blocks.shape[1]):
        site.space.join(first, np.ascontiguousarray(blocks[:, column]))
    return first


def _viewed(site: Site, index: int, argument: str, entries: Sequence[Any]) -> Axes:
    axes = regroup(site, site.axes("self"), site.shape())
    computed = [
        axis
        for axis, entry in zip(axes, entries, strict=False)
        if is_labelled(axis) and is_symbolic(entry)
    ]
    if len(computed) + entries.count(-1) > 1:
        site.freeze_all(computed, "reshapes to sizes computed from these channels")
    if any(is_labelled(axis) for axis in axes):
        padded = (*axes, *(() for _ in range(len(entries) - len(axes))))
        site.edit(SetSizes(site.node.name, index, argument, padded))
    return axes


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
    """An axis of size 1 becomes identical positions, free to shrink with what they meet."""
    x = site.axes("self")
    sizes = list(site.arg("size"))
    shape = site.shape()
    lead = len(shape) - len(x)
    axes: list[Axis] = []
    for position, size in enumerate(shape):
        source = x[position - lead] if position >= lead else plain(1)
        if size_of(source) == size:
            axes.append(source)
        elif isinstance(sizes[position], int) and size <= 65536:
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


@rule(aten.repeat.default)
def repeat(site: Site) -> Value:
    """Copies of an axis are one more factor in front of it."""
    x = site.axes("self")
    counts = list(site.arg("repeats"))
    shape = site.shape()
    lead = len(counts) - len(x)
    axes: list[Axis] = []
    for position, size in enumerate(shape):
        source = x[position - lead] if position >= lead else plain(1)
        count = size // max(size_of(source), 1)
        if count == 1:
            axes.append(source)
        elif is_labelled(source):
            axes.append((Factor(count), *source))
        else:
            axes.append(plain(size))
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


@rule(aten.pixel_shuffle.default)
def pixel_shuffle(site: Site) -> Value:
    """(…, c·r², h, w) to (…, c, h·r, w·r): the r² channels of one output leave together."""
    x = site.axes("self")
    factor = int(site.arg("upscale_factor"))
    out = site.shape()
    channels = x[-3]
    if is_labelled(channels):
        ids = site.flat(channels)
        if ids is not None:
            kept = _join_columns(site, ids.reshape(-1, factor * factor))
            channels = (Factor(len(kept), kept),)
    else:
        channels = plain(out[-3])
    return (*x[:-3], channels, plain(out[-2]), plain(out[-1]))


@rule(aten.pixel_unshuffle.default)
def pixel_unshuffle(site: Site) -> Value:
    """(…, c, h·r, w·r) to (…, c·r², h, w)."""
    x = site.axes("self")
    factor = int(site.arg("downscale_factor"))
    out = site.shape()
    channels: Axis = (*x[-3], Factor(factor * factor))
    if not is_labelled(x[-3]):
        channels = plain(prod((size_of(x[-3]), factor, factor)))
    return (*x[:-3], channels, plain(out[-2]), plain(out[-1]))
