"""Normalisation layers."""

from __future__ import annotations

import torch

from compressc.channels.axes import Axis, is_labelled, join_axes, plain, size_of
from compressc.channels.edits import SetCount, SetSizes
from compressc.rules.records import EqualCount
from compressc.rules.reduction import over_kept
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value

aten = torch.ops.aten


def _join_parameters(site: Site, axis: Axis, names: tuple[str, ...]) -> Axis:
    for name in names:
        parameter = site.axes_of(site.arg(name))
        if parameter is not None:
            axis = join_axes(site.space, axis, parameter[-1], site.name)
    return axis


@rule(aten.batch_norm.default)
def batch_norm(site: Site) -> Value:
    """One scale and shift per channel; without running statistics the other axes are read whole."""
    x = site.axes("input")
    parameters = ("weight", "bias", "running_mean", "running_var")
    if site.arg("running_mean") is None or site.arg("training"):
        over_kept(site, [*x[:1], *x[2:]])
    return (x[0], _join_parameters(site, x[1], parameters), *x[2:])


@rule(aten.instance_norm.default)
def instance_norm(site: Site) -> Value:
    """Statistics per sample and channel over the other axes."""
    x = site.axes("input")
    over_kept(site, x[2:])
    parameters = ("weight", "bias", "running_mean", "running_var")
    return (x[0], _join_parameters(site, x[1], parameters), *x[2:])


@rule(aten.layer_norm.default, aten.rms_norm.default)
def layer_norm(site: Site) -> Value:
    """Statistics over the last axes; those that are labelled shrink to the kept channels."""
    x = list(site.axes("input"))
    rank = len(site.arg("normalized_shape"))
    first = len(x) - rank
    names = ("weight", "bias") if site.node.target is aten.layer_norm.default else ("weight",)
    for name in names:
        parameter = site.axes_of(site.arg(name))
        if parameter is not None:
            for offset, axis in enumerate(parameter):
                x[first + offset] = join_axes(site.space, x[first + offset], axis, site.name)
    normalized = tuple(x[first:])
    over_kept(site, normalized)
    if any(is_labelled(axis) for axis in normalized) and not site.frozen_statistics:
        index = site.index("normalized_shape")
        site.edit(SetSizes(site.node.name, index, "normalized_shape", normalized))
    return tuple(x)


@rule(aten.group_norm.default)
def group_norm(site: Site) -> Value:
    """Each of ``num_groups`` blocks of channels keeps the same number of channels."""
    x = site.axes("input")
    axis = _join_parameters(site, x[1], ("weight", "bias"))
    blocks = int(site.arg("num_groups"))
    over_kept(site, x[2:])
    ids = site.flat(axis)
    if ids is None:
        return (x[0], axis, *x[2:])
    if blocks == size_of(axis):
        # Every channel is a block of its own: blocks leave with their channel.
        site.edit(SetCount(site.node.name, site.index("num_groups"), "num_groups", axis))
        return (x[0], axis, *x[2:])
    over_kept(site, [axis])
    if blocks > 1 and not site.frozen_statistics:
        site.records.equal_counts.append(EqualCount(site.node.name, ids, blocks))
    return (x[0], axis, *x[2:])


@rule(aten.prelu.default)
def prelu(site: Site) -> Value:
    """One slope per channel, or one for all."""
    x, weight = site.axes("self"), site.axes("weight")
    if size_of(weight[0]) == 1:
        return x
    channel = 1 if len(x) > 1 else 0
    joined = join_axes(site.space, x[channel], weight[0], site.name)
    return (*x[:channel], joined, *x[channel + 1 :])


@rule(aten._weight_norm.default, aten._weight_norm_interface.default)
def weight_norm(site: Site) -> Value:
    """``v * g / norm(v)``: the norm is taken over all axes but one, of the kept channels."""
    v, g = list(site.axes("v")), site.axes("g")
    dim = site.dim("dim", len(v))
    v[dim] = join_axes(site.space, v[dim], g[dim], site.name)
    over_kept(site, [axis for index, axis in enumerate(v) if index != dim])
    plain_output = site.plain_output()
    if isinstance(plain_output, list):
        norms = [axis if index == dim else plain(1) for index, axis in enumerate(v)]
        return [tuple(v), tuple(norms)]
    return tuple(v)
