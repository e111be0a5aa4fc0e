"""Operations that move channels into space and back, or into another order."""

from __future__ import annotations

from math import prod

import numpy as np
import torch

from compressc.channels.axes import Axis, Factor, is_labelled, plain, size_of
from compressc.channels.edits import Reindex
from compressc.rules.registry import rule
from compressc.rules.reshaping import split_factor
from compressc.rules.site import Site, Value

aten = torch.ops.aten


@rule(aten.pixel_shuffle.default)
def pixel_shuffle(site: Site) -> Value:
    """(…, c·r², h, w) to (…, c, h·r, w·r): the r² channels of one output leave together."""
    x = site.axes("self")
    factor = int(site.arg("upscale_factor"))
    out = site.shape()
    ids = site.flat(x[-3])
    channels = plain(out[-3])
    if ids is not None:
        blocks = ids.reshape(-1, factor * factor)
        first = np.ascontiguousarray(blocks[:, 0])
        site.space.join(np.repeat(first, factor * factor), blocks.reshape(-1))
        channels = (Factor(len(first), first),)
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


@rule(aten.channel_shuffle.default, aten.native_channel_shuffle.default)
def channel_shuffle(site: Site) -> Value:
    """Channels in another order, which lowering writes out."""
    x = site.axes("self")
    ids = site.flat(x[1])
    if ids is None:
        return x
    index = np.arange(len(ids)).reshape(int(site.arg("groups")), -1).T.reshape(-1)
    result: Axis = (Factor(len(ids), ids[index]),)
    site.edit(Reindex(site.node.name, 1, x[1], result, index))
    return (x[0], result, *x[2:])


@rule(aten.im2col.default)
def unfold_patches(site: Site) -> Value:
    """(n, c, h, w) to (n, c·k, patches): a channel's patch leaves with it."""
    x = site.axes("self")
    out = site.shape()
    site.freeze_all(x[-2:], "slides over this axis")
    kernel = prod(site.arg("kernel_size"))
    channels: Axis = (*x[-3], Factor(kernel)) if is_labelled(x[-3]) else plain(out[-2])
    return (*x[:-3], channels, plain(out[-1]))


@rule(aten.col2im.default)
def fold_patches(site: Site) -> Value:
    """(n, c·k, patches) to (n, c, h, w)."""
    x = site.axes("self")
    out = site.shape()
    site.freeze(x[-1], "slides over this axis")
    channels = plain(out[-3])
    if is_labelled(x[-2]):
        factors = list(x[-2])
        taken = factors.pop()
        kernel = prod(site.arg("kernel_size"))
        if taken.size != kernel:
            outer, taken = split_factor(site, taken, kernel, blocks=True)
            factors.append(outer)
        site.freeze((taken,), "adds up overlapping patches")
        channels = tuple(factors) or plain(1)
    return (*x[:-2], channels, plain(out[-2]), plain(out[-1]))


@rule(aten.unfold.default)
def sliding_windows(site: Site) -> Value:
    """Windows over one axis; the axis stays whole, the others pass."""
    x = site.axes("self")
    dim = int(site.arg("dimension")) % len(x)
    site.freeze(x[dim], "slides over this axis")
    out = site.shape()
    return (*x[:dim], plain(out[dim]), *x[dim + 1 :], plain(out[-1]))


@rule(aten.roll.default, aten.flip.default)
def reorder(site: Site) -> Value:
    """Positions move by a fixed amount; on channels lowering writes the order out."""
    x = list(site.axes("self"))
    dims = [int(dim) % len(x) for dim in site.arg("dims")]
    flip = site.node.target is aten.flip.default
    shifts = [0] * len(dims) if flip else list(site.arg("shifts"))
    marked = [dim for dim in dims if is_labelled(x[dim])]
    if len(dims) != 1 or not all(isinstance(shift, int) for shift in shifts):
        site.freeze_all([x[dim] for dim in marked], "moves the positions of several axes")
        return tuple(x)
    if marked:
        ids = site.flat(x[dims[0]])
        if ids is None:
            return tuple(x)
        index = np.arange(len(ids))
        index = index[::-1] if flip else np.roll(index, shifts[0])
        result: Axis = (Factor(len(ids), ids[index]),)
        site.edit(Reindex(site.node.name, dims[0], x[dims[0]], result, index))
        x[dims[0]] = result
    return tuple(x)
