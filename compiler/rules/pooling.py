"""Pooling, resampling and padding over space: channels pass, space stays whole."""

from __future__ import annotations

from typing import Any

import torch

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
from compressc.channels.edits import SetPad
from compressc.rules.registry import rule
from compressc.rules.site import STRUCTURAL, Site, Value
from compressc.rules.targets import overloads

aten = torch.ops.aten

_BY_RANK = {
    1: "max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d upsample_nearest1d "
    "upsample_linear1d _upsample_nearest_exact1d max_pool1d_with_indices reflection_pad1d "
    "replication_pad1d lp_pool1d",
    2: "max_pool2d avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d "
    "max_pool2d_with_indices upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d "
    "upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa grid_sampler "
    "grid_sampler_2d reflection_pad2d replication_pad2d max_unpool2d",
    3: "max_pool3d avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d max_pool3d_with_indices "
    "upsample_nearest3d _upsample_nearest_exact3d upsample_trilinear3d grid_sampler_3d "
    "reflection_pad3d replication_pad3d max_unpool3d",
}
_RANK: dict[Any, int] = {
    target: rank for rank, names in _BY_RANK.items() for target in overloads(names, "default vec")
}


@rule(*_RANK)
def over_space(site: Site) -> Value:
    """The last one to three axes are space."""
    rank = _RANK[site.node.target]
    source = site.node.args[0]
    x = site.axes_of(source)
    if x is None:
        raise TypeError("it pools a value that is no tensor")
    if site.node.target in _AVERAGES and any(is_labelled(axis) for axis in x[-rank:]):
        return _average_neighbours(site, x, rank)
    site.freeze_all(x[len(x) - rank :], "slides over this axis")
    for other in site.node.all_input_nodes[1:]:
        _meet(site, x, site.axes_of(other) or (), rank)
    plain_output = site.plain_output()
    if isinstance(plain_output, list):
        return [(*x[: len(x) - rank], *axes[len(x) - rank :]) for axes in plain_output]
    if plain_output is None:
        return None
    return (*x[: len(x) - rank], *plain_output[len(x) - rank :])


def _meet(site: Site, x: Axes, other: Axes, rank: int) -> None:
    """Join the channels of a second operand with those of x, and pin a sampling grid."""
    channel = len(x) - rank - 1
    if len(other) == len(x) and size_of(other[channel]) == size_of(x[channel]):
        join_axes(site.space, x[channel], other[channel], site.name)
        other = (*other[:channel], *other[channel + 1 :])
    site.freeze_all(other, "samples at these places")


_AVERAGES = overloads("avg_pool1d avg_pool2d avg_pool3d", "default")


def _average_neighbours(site: Site, x: Axes, rank: int) -> Value:
    """Channels lie on a pooled axis, as in cross-channel response normalisation.

    With steps of 1 the average runs over the neighbours among the kept channels; the positions
    that the window needs at both ends stay.
    """
    kernel, stride = _listed(site.arg("kernel_size"), rank), _listed(site.arg("stride"), rank)
    padding = _listed(site.arg("padding"), rank)
    out = site.shape()
    axes = list(x)
    for offset in range(rank):
        dim = len(x) - rank + offset
        ids = site.flat(x[dim])
        if ids is None:
            axes[dim] = plain(out[dim])
            continue
        edge = len(ids) - out[dim]
        slides = (stride or kernel)[offset] == 1 and padding[offset] == 0
        if not slides or edge != kernel[offset] - 1 or site.frozen_statistics:
            site.freeze(x[dim], "slides over this axis")
            axes[dim] = plain(out[dim])
            continue
        first = edge // 2
        inside = exactly(ids[first : first + out[dim]])
        site.freeze(exactly(ids[:first]), STRUCTURAL)
        site.freeze(exactly(ids[first + out[dim] :]), STRUCTURAL)
        axes[dim] = inside
        site.statistics()
    return tuple(axes)


def _listed(value: Any, rank: int) -> list[int]:
    if isinstance(value, int):
        return [value] * rank
    listed = [int(entry) for entry in value]
    return listed * rank if len(listed) == 1 else listed


@rule(aten.pad.default, aten.constant_pad_nd.default)
def pad(site: Site) -> Value:
    """Constants padded onto channels are channels of their own, free to leave."""
    x = list(site.axes("self"))
    amounts = list(site.arg("pad"))
    plain_output = site.plain_output()
    if not isinstance(plain_output, tuple):
        raise TypeError("it pads a value that is no tensor")
    constant = site.node.target is aten.constant_pad_nd.default or site.arg("mode") == "constant"
    entries: list[tuple[int, Axis]] = []
    for offset in range(len(amounts) // 2):
        axis = len(x) - 1 - offset
        before, after = amounts[2 * offset], amounts[2 * offset + 1]
        if before == 0 and after == 0:
            continue
        known = isinstance(before, int) and isinstance(after, int) and before >= 0 and after >= 0
        if not is_labelled(x[axis]) or not constant or not known:
            site.freeze(x[axis], "pads this axis with computed or mirrored values")
            x[axis] = plain_output[axis]
            continue
        ids = site.flat(x[axis])
        if ids is None:
            continue
        parts: list[Axis] = [x[axis]]
        if before:
            parts.insert(0, site.constant_axis(before))
            entries.append((2 * offset, parts[0]))
        if after:
            parts.append(site.constant_axis(after))
            entries.append((2 * offset + 1, parts[-1]))
        x[axis] = concatenate(site.space, parts, site.name)
    if entries:
        site.edit(SetPad(site.node.name, tuple(entries)))
    return tuple(x)
