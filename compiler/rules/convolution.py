"""Convolutions: plain, depthwise, grouped, transposed, in one to three dimensions."""

from __future__ import annotations

from math import prod

import numpy as np
import torch

from compressc.axes import Axes, Axis, join_axes, labelled, plain
from compressc.edits import SetCount
from compressc.rules.registry import STRUCTURAL, EqualCount, GroupedWeight, Site, Value, rule
from compressc.shapes import value_of

aten = torch.ops.aten


def _spatial(site: Site, rank: int) -> Axes:
    shape = site.shape()
    return tuple(plain(size) for size in shape[len(shape) - rank :])


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
    conv_groups = int(site.arg("groups"))
    rank = len(weight) - 2
    channel = len(x) - rank - 1
    site.freeze_all(weight[2:], STRUCTURAL)
    kernel = prod(site.shape(value_of(site.arg("weight")))[2:])
    if conv_groups == 1:
        channels = join_axes(site.space, x[channel], weight[1], site.name)
        site.contract(site.arg("input"), channel)
        site.contract(site.arg("weight"), 1)
        fan_in = weight[1][0].size
        site.macs(kernel * fan_in, (*x[:channel], weight[0], channels))
        return _finish(site, x, channel, weight[0], rank)
    if weight[1][0].size == 1:
        out = _couple_depthwise(site, x[channel], weight[0])
        site.macs(kernel, (*x[:channel], weight[0]))
        return _finish(site, x, channel, out, rank)
    _couple_grouped(site, x[channel], weight, 0, 1, conv_groups)
    site.contract(site.arg("input"), channel)
    fan_in = weight[1][0].size
    site.macs(kernel * fan_in, (*x[:channel], weight[0], x[channel]))
    return _finish(site, x, channel, weight[0], rank)


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
    weight_shape = site.shape(value_of(site.arg("weight")))
    fan_out, kernel = weight_shape[1], prod(weight_shape[2:])
    # Every input element meets every kernel element of every output channel once.
    source = value_of(site.arg("input"))
    if conv_groups == 1:
        channels = join_axes(site.space, x[channel], weight[0], site.name)
        site.contract(site.arg("input"), channel)
        site.contract(site.arg("weight"), 0)
        site.macs(kernel * fan_out, (*x[:channel], weight[1], channels), output=source)
        return _finish(site, x, channel, weight[1], rank)
    if weight[1][0].size == 1 and weight_shape[0] == conv_groups:
        out = _couple_depthwise(site, x[channel], weight[0])
        site.macs(kernel, (*x[:channel], weight[0]), output=source)
        return _finish(site, x, channel, out, rank)
    out = labelled(site.space.fresh(fan_out * conv_groups))
    site.freeze_all((*weight[:2], x[channel], out), "is a grouped transposed convolution")
    site.macs(kernel * fan_out, x[:channel], output=source)
    return _finish(site, x, channel, out, rank)


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


def _couple_grouped(
    site: Site, channels: Axis, weight: Axes, row: int, column: int, conv_groups: int
) -> None:
    """Let every conv group lose as many inputs and outputs as any other, but its own ones."""
    rows, columns = site.flat(weight[row]), site.flat(channels)
    tensor = site.arg("weight")
    site.freeze(weight[column], STRUCTURAL)
    if rows is not None:
        site.records.equal_counts.append(EqualCount(site.node.name, rows, conv_groups))
    if columns is None:
        return
    if tensor.op != "get_attr" or not site.single_user(tensor) or rows is None:
        site.freeze(channels, "is a grouped convolution whose weight is shared or computed")
        return
    site.records.equal_counts.append(EqualCount(site.node.name, columns, conv_groups))
    site.records.grouped_weights.append(
        GroupedWeight(str(tensor.target), conv_groups, row, column, rows, columns)
    )
