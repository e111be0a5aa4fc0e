"""Operators that move elements."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from compressc.frontend.onnx_import.call import Call, Results, positive_axes
from compressc.frontend.onnx_import.known import is_symbol
from compressc.frontend.onnx_import.registry import operator


@operator("Reshape")
def reshape(call: Call) -> Results:
    """A 0 stands for the input's size there, unless allowzero=1."""
    x, sizes = call.tensor(0), call.setting("shape", 1)
    if not call.attribute("allowzero", 0):
        sizes = [
            x.shape[axis] if not is_symbol(size) and size == 0 else size
            for axis, size in enumerate(sizes)
        ]
    return torch.reshape(x, tuple(sizes))


@operator("Flatten")
def flatten(call: Call) -> Results:
    """Two axes: those before one position, and those from it on."""
    x, axis = call.tensor(0), call.attribute("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1:
        return torch.flatten(x, 1) if x.dim() > 1 else x.unsqueeze(1)
    if axis == 0:
        return torch.flatten(x).unsqueeze(0)
    left = torch.flatten(x, 0, axis - 1)
    return torch.flatten(left, 1) if left.dim() > 1 else left.unsqueeze(1)


@operator("Transpose")
def transpose(call: Call) -> Results:
    """Axes in another order, reversed by default."""
    x = call.tensor(0)
    order = call.attribute("perm", list(reversed(range(x.dim()))))
    return x.permute(tuple(order))


@operator("Squeeze")
def squeeze(call: Call) -> Results:
    """Axes of size 1 go."""
    x, axes = call.tensor(0), call.setting("axes", 1)
    if axes is None:
        axes = [axis for axis, size in enumerate(x.shape) if not is_symbol(size) and size == 1]
    for axis in sorted(positive_axes(axes, x.dim()), reverse=True):
        x = x.squeeze(axis)
    return x


@operator("Unsqueeze")
def unsqueeze(call: Call) -> Results:
    """Axes of size 1 come."""
    x, axes = call.tensor(0), call.setting("axes", 1)
    for axis in sorted(positive_axes(axes, x.dim() + len(axes))):
        x = x.unsqueeze(axis)
    return x


@operator("Expand")
def expand(call: Call) -> Results:
    """Broadcast to a shape; axes may be longer on either side."""
    x, sizes = call.tensor(0), call.numbers(1, "a shape")
    while x.dim() < len(sizes):
        x = x.unsqueeze(0)
    sizes = [*x.shape[: x.dim() - len(sizes)], *sizes]
    merged = [
        own if not is_symbol(size) and size == 1 else size
        for own, size in zip(x.shape, sizes, strict=True)
    ]
    return x.expand(tuple(merged))


@operator("Tile")
def tile(call: Call) -> Results:
    """Repeats along every axis."""
    return call.tensor(0).repeat(tuple(call.numbers(1, "repeats")))


@operator("Concat")
def concatenate(call: Call) -> Results:
    """One after the other."""
    return torch.cat(call.tensors(), call.attribute("axis", 1))


@operator("Split")
def split(call: Call) -> Results:
    """Into parts of given sizes, or into as many equal ones as there are outputs."""
    x, axis = call.tensor(0), call.attribute("axis", 0)
    sizes = call.setting("split", 1)
    if sizes is None:
        count = call.attribute("num_outputs", len(call.node.outputs))
        step = -(-x.shape[axis] // count)
        last = x.shape[axis] - step * (count - 1)
        sizes = [step] * (count - 1) + [last]
    return tuple(torch.split(x, sizes, axis))


@operator("DepthToSpace")
def depth_to_space(call: Call) -> Results:
    """Blocks of channels become pixels."""
    x, block = call.tensor(0), call.attribute("blocksize")
    if call.attribute("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, block, block, channels // block**2, height, width)
    x = x.permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, channels // block**2, height * block, width * block)


@operator("SpaceToDepth")
def space_to_depth(call: Call) -> Results:
    """Pixels become blocks of channels."""
    x, block = call.tensor(0), call.attribute("blocksize")
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // block, block, width // block, block)
    x = x.permute(0, 3, 5, 1, 2, 4)
    return x.reshape(batch, channels * block**2, height // block, width // block)


@operator("Pad")
def pad(call: Call) -> Results:
    """Constant, reflected, repeated or wrapped borders; negative amounts cut off."""
    x = call.tensor(0)
    amounts = call.setting("pads", 1)
    axes = positive_axes(call.numbers(3, "axes"), x.dim()) if call.has(3) else range(x.dim())
    count = len(amounts) // 2
    begin, end = (
        dict(zip(axes, amounts[:count], strict=True)),
        dict(zip(axes, amounts[count:], strict=True)),
    )
    value: Any = call.attribute("value", 0.0)
    if call.has(2):
        value = call.numbers(2, "a value")[0]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[
        call.attribute("mode", "constant")
    ]
    touched = [axis for axis in axes if begin[axis] or end[axis]]
    if not touched:
        return x
    first = min(touched)
    flat = [
        p
        for axis in reversed(range(first, x.dim()))
        for p in (begin.get(axis, 0), end.get(axis, 0))
    ]
    if mode == "constant":
        return F.pad(x, flat, value=value)
    if first < 2 or x.dim() - first > 3:
        for axis in touched:
            x = _pad_axis(call, x, axis, begin[axis], end[axis], mode)
        return x
    # torch wants amounts for all axes of space, which follow the batch and the channels.
    flat += [0] * (2 * (x.dim() - 2) - len(flat))
    return F.pad(x, flat, mode=mode)


def _pad_axis(call: Call, x: Tensor, axis: int, begin: int, end: int, mode: str) -> Tensor:
    """Pad one axis, put last as torch wants it."""
    if x.dim() > 3 or begin < 0 or end < 0:
        raise call.unsupported(f"that pads axis {axis} by {call.attribute('mode')}")
    moved = x.movedim(axis, -1)
    lead = moved
    while lead.dim() < 3:
        lead = lead.unsqueeze(0)
    padded = F.pad(lead, (begin, end), mode=mode)
    return padded.reshape((*moved.shape[:-1], padded.shape[-1])).movedim(-1, axis)
