"""Normalisation layers."""

from __future__ import annotations

import torch

from compressc.axes import Axis, is_labelled, join_axes, size_of
from compressc.edits import SetSizes
from compressc.rules.registry import EqualCount, Site, Value, rule

aten = torch.ops.aten


def _join_parameters(site: Site, axis: Axis, names: tuple[str, ...]) -> Axis:
    for name in names:
        parameter = site.axes_of(site.arg(name))
        if parameter is not None:
            axis = join_axes(site.space, axis, parameter[-1], site.name)
    return axis


@rule(aten.batch_norm.default, aten.instance_norm.default)
def channel_norm(site: Site) -> Value:
    """Statistics per channel: nothing but the channel's own parameters is coupled."""
    x = site.axes("input")
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
    if any(is_labelled(axis) for axis in normalized):
        if site.frozen_statistics:
            site.freeze_all(normalized, "computes statistics over these channels (strict mode)")
        else:
            site.statistics()
            index = site.index("normalized_shape")
            site.edit(SetSizes(site.node.name, index, "normalized_shape", normalized))
    return tuple(x)


@rule(aten.group_norm.default)
def group_norm(site: Site) -> Value:
    """Each of ``num_groups`` blocks of channels keeps the same number of channels."""
    x = site.axes("input")
    axis = _join_parameters(site, x[1], ("weight", "bias"))
    blocks = int(site.arg("num_groups"))
    if is_labelled(axis):
        ids = site.flat(axis)
        if site.frozen_statistics or ids is None:
            site.freeze(axis, "computes statistics over these channels (strict mode)")
        elif blocks < size_of(axis):
            site.statistics()
            if blocks > 1:
                site.records.equal_counts.append(EqualCount(site.node.name, ids, blocks))
        else:
            site.freeze(axis, "normalises every channel as a group of its own")
    return (x[0], axis, *x[2:])


@rule(aten.prelu.default)
def prelu(site: Site) -> Value:
    """One slope per channel, or one for all."""
    x, weight = site.axes("self"), site.axes("weight")
    channel = 1 if len(x) > 1 else 0
    if size_of(weight[0]) == 1:
        return x
    joined = join_axes(site.space, x[channel], weight[0], site.name)
    return (*x[:channel], joined, *x[channel + 1 :])
