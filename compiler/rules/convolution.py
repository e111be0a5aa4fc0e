"""Convolutions: plain, depthwise, grouped, transposed, in one to three dimensions."""

from __future__ import annotations

from math import prod
from typing import Literal

import numpy as np
import torch

from compressc.array_types import IntArray
from compressc.channels.axes import Axes, Axis, is_labelled, join_axes, labelled, plain, size_of
from compressc.channels.edits import SetCount
from compressc.channels.shapes import hinted_shape, value_of
from compressc.errors import RuleError
from compressc.rules.records import EqualCount, GroupedWeight
from compressc.rules.reduction import over_kept
from compressc.rules.registry import rule
from compressc.rules.site import STRUCTURAL, Site, Value

aten = torch.ops.aten


def _spatial(site: Site, rank: int) -> Axes:
    shape = site.shape()
    return tuple(plain(size, f"the positions behind {site.name}") for size in shape[-rank:])


def _finish(site: Site, x: Axes, channel: int, out: Axis, rank: int) -> Value:
    bias = site.axes_of(site.arg("bias"))
    if bias is not None:
        out = join_axes(site.space, out, bias[0], site.name)
    site.freeze_all(x[channel + 1 :], "slides over this axis")
    return (*x[:channel], out, *_spatial(site, rank))


@rule(
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv1d.padding,
    aten.conv2d.padding,
    aten.conv3d.padding,
)
def convolution(site: Site) -> Value:
    """Weight (out, in / conv_groups, kernel): in couples to the input, out to the output."""
    x, weight = site.axes("input"), site.axes("weight")
    rank = len(weight) - 2
    channel = len(x) - rank - 1
    site.freeze_all(weight[2:], STRUCTURAL)
    weight_shape = hinted_shape(value_of(site.arg("weight")))
    inner = prod(weight_shape[1:])
    conv_groups = site.arg("groups")
    if not isinstance(conv_groups, int):
        site.macs(inner, x[:channel])
        return _freeze(site, x, channel, weight, 0, rank, "has conv groups for every sample")
    if _slides_over_channels(site, x, weight, rank):
        site.macs(inner, (*x[:channel], *x[channel + 1 :]))
        over_kept(site, x[channel + 1 :])
        return x
    if conv_groups == 1:
        channels = join_axes(site.space, x[channel], weight[1], site.name)
        site.contract(site.arg("input"), channel)
        site.contract(site.arg("weight"), 1)
        site.macs(inner, (*x[:channel], weight[0], channels))
        return _finish(site, x, channel, weight[0], rank)
    multiplied = weight_shape[0] > conv_groups
    if weight_shape[1] == 1 and (is_labelled(x[channel]) or not multiplied):
        out = _couple_depthwise(site, x[channel], weight[0])
        site.macs(inner, (*x[:channel], weight[0]))
        return _finish(site, x, channel, out, rank)
    reason = _ungroupable(weight)
    if reason:
        site.macs(inner, x[:channel])
        return _freeze(site, x, channel, weight, 0, rank, reason)
    if is_labelled(x[channel]):
        _couple_grouped(site, weight, 0, 1, x[channel], "in")
        site.contract(site.arg("input"), channel)
        site.contract(site.arg("weight"), 1)
    else:
        site.freeze(weight[1], STRUCTURAL)
        site.records.equal_counts.append(
            EqualCount(site.node.name, _ids(site, weight[0]), conv_groups)
        )
    site.macs(inner, (*x[:channel], weight[0], x[channel]))
    return _finish(site, x, channel, weight[0], rank)


def _slides_over_channels(site: Site, x: Axes, weight: Axes, rank: int) -> bool:
    """Return whether channels lie on the axis that a one-to-one filter slides over (as in ECA).

    The filter then meets the neighbours among the kept channels.
    """
    space = x[len(x) - rank :]
    ones = size_of(weight[0]) == size_of(weight[1]) == 1
    same = tuple(size_of(axis) for axis in space) == site.shape()[len(x) - rank :]
    steps = [site.arg("stride")] if isinstance(site.arg("stride"), int) else site.arg("stride")
    return (
        ones
        and same
        and rank == 1
        and is_labelled(space[0])
        and all(step == 1 for step in steps)
        and not site.frozen_statistics
    )


@rule(
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
)
def transposed_convolution(site: Site) -> Value:
    """Weight (in, out / conv_groups, kernel)."""
    x, weight = site.axes("input"), site.axes("weight")
    conv_groups = int(site.arg("groups"))
    rank = len(weight) - 2
    channel = len(x) - rank - 1
    site.freeze_all(weight[2:], STRUCTURAL)
    weight_shape = hinted_shape(value_of(site.arg("weight")))
    # Every input element meets every kernel element of every output channel once.
    inner, source = prod(weight_shape[1:]), value_of(site.arg("input"))
    if conv_groups == 1:
        channels = join_axes(site.space, x[channel], weight[0], site.name)
        site.contract(site.arg("input"), channel)
        site.contract(site.arg("weight"), 0)
        site.macs(inner, (*x[:channel], weight[1], channels), output=source)
        return _finish(site, x, channel, weight[1], rank)
    if weight_shape[1] == 1 and weight_shape[0] == conv_groups:
        out = _couple_depthwise(site, x[channel], weight[0])
        site.macs(inner, (*x[:channel], weight[0]), output=source)
        return _finish(site, x, channel, out, rank)
    out = labelled(site.space.fresh(weight_shape[1] * conv_groups))
    reason = _ungroupable(weight)
    if reason:
        site.macs(inner, x[:channel], output=source)
        site.freeze(out, reason)
        return _freeze(site, x, channel, (*weight[:2], out), 2, rank, reason)
    _couple_grouped(site, weight, 0, 1, out, "out")
    channels = join_axes(site.space, x[channel], weight[0], site.name)
    site.contract(site.arg("input"), channel)
    site.records.read_axes.append((str(site.arg("weight").target), 0))
    site.macs(inner, (*x[:channel], channels, out), output=source)
    return _finish(site, x, channel, out, rank)


def _freeze(
    site: Site, x: Axes, channel: int, weight: Axes, out: int, rank: int, reason: str
) -> Value:
    """Pin everything; ``weight[out]`` holds the output channels, or blocks of them."""
    site.freeze_all((*weight, x[channel]), reason)
    size = site.shape()[channel]
    whole = weight[out] if size_of(weight[out]) == size else plain(size)
    return _finish(site, x, channel, whole, rank)


def _couple_depthwise(site: Site, channels: Axis, out: Axis) -> Axis:
    ids, rows = site.flat(channels), site.flat(out)
    if ids is None or rows is None:
        site.freeze(channels, "is depthwise over channels that cannot be pruned")
        site.freeze(out, "is depthwise over channels that cannot be pruned")
        return out
    multiplier = len(rows) // len(ids)
    site.space.join(np.repeat(ids, multiplier), rows)
    site.edit(SetCount(site.node.name, site.index("groups"), "groups", channels))
    return out


def _ungroupable(weight: Axes) -> str:
    """Return why the channels of a grouped convolution must stay, or ""."""
    if not is_labelled(weight[0]) or (not is_labelled(weight[1]) and size_of(weight[1]) > 1):
        return "is a grouped convolution over channels that cannot be pruned"
    return ""


def _ids(site: Site, axis: Axis) -> IntArray:
    ids = site.flat(axis)
    if ids is None:
        raise RuleError("a grouped convolution without channels")
    return ids


def _couple_grouped(
    site: Site,
    weight: Axes,
    row: int,
    column: int,
    channels: Axis,
    column_role: Literal["in", "out"],
) -> None:
    """Require equal counts in every conv group; which channels leave, each group decides.

    Where the weight has other readers or is computed, its slices cannot be cut group by group: the
    same positions then leave the compact axis in every group.
    """
    rows, columns = _ids(site, weight[row]), _ids(site, channels)
    conv_groups, tensor = int(site.arg("groups")), site.arg("weight")
    site.records.equal_counts.append(EqualCount(site.node.name, rows, conv_groups))
    if tensor.op != "get_attr" or not site.single_user(tensor):
        compact = site.flat(weight[column])
        if compact is None:
            site.freeze(channels, "is a grouped convolution over channels that cannot be pruned")
        else:
            site.space.join(np.tile(compact, conv_groups), columns)
        return
    site.freeze(weight[column], STRUCTURAL)
    site.records.equal_counts.append(EqualCount(site.node.name, columns, conv_groups))
    name = str(tensor.target)
    site.records.grouped_weights.append(
        GroupedWeight(name, conv_groups, row, column, rows, columns, column_role)
    )
