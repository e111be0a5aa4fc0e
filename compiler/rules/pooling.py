"""Pooling, resampling and padding over space: channels pass, space stays whole."""

from __future__ import annotations

from typing import Any

import torch

from compressc.axes import Axis, concatenate, is_labelled
from compressc.edits import SetPad
from compressc.rules.registry import Site, Value, rule

aten = torch.ops.aten

_RANK: dict[Any, int] = {
    aten.max_pool1d.default: 1,
    aten.max_pool2d.default: 2,
    aten.max_pool3d.default: 3,
    aten.avg_pool1d.default: 1,
    aten.avg_pool2d.default: 2,
    aten.avg_pool3d.default: 3,
    aten.adaptive_avg_pool1d.default: 1,
    aten.adaptive_avg_pool2d.default: 2,
    aten.adaptive_avg_pool3d.default: 3,
    aten.max_pool2d_with_indices.default: 2,
    aten.max_pool3d_with_indices.default: 3,
    aten.adaptive_max_pool1d.default: 1,
    aten.adaptive_max_pool2d.default: 2,
    aten.adaptive_max_pool3d.default: 3,
    aten.upsample_nearest1d.vec: 1,
    aten.upsample_nearest2d.vec: 2,
    aten.upsample_nearest3d.vec: 3,
    aten._upsample_nearest_exact2d.vec: 2,
    aten.upsample_linear1d.vec: 1,
    aten.upsample_bilinear2d.vec: 2,
    aten.upsample_trilinear3d.vec: 3,
    aten.upsample_bicubic2d.vec: 2,
    aten.upsample_nearest2d.default: 2,
    aten.upsample_bilinear2d.default: 2,
    aten._upsample_bilinear2d_aa.vec: 2,
    aten._upsample_bicubic2d_aa.vec: 2,
    aten.grid_sampler.default: 2,
    aten.grid_sampler_2d.default: 2,
}


@rule(*_RANK)
def over_space(site: Site) -> Value:
    """The last one to three axes are space."""
    rank = _RANK[site.node.target]
    source = site.node.args[0]
    x = site.axes_of(source)
    if x is None:
        raise TypeError(f"{site.name} pools a value that is no tensor")
    space = x[len(x) - rank :]
    site.freeze_all(space, "slides over this axis")
    for other in site.node.all_input_nodes[1:]:
        site.freeze_all(site.axes_of(other) or (), "samples at these places")
    plain = site.plain_output()
    if isinstance(plain, list):
        return [(*x[: len(x) - rank], *axes[len(x) - rank :]) for axes in plain]
    if plain is None:
        return None
    return (*x[: len(x) - rank], *plain[len(x) - rank :])


@rule(aten.pad.default, aten.constant_pad_nd.default)
def pad(site: Site) -> Value:
    """Constants padded onto channels are channels of their own, free to leave."""
    x = list(site.axes("self"))
    amounts = list(site.arg("pad"))
    plain = site.plain_output()
    if not isinstance(plain, tuple):
        raise TypeError(f"{site.name} pads a value that is no tensor")
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
            x[axis] = plain[axis]
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
