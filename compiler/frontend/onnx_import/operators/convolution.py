"""Convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from compressc.frontend.onnx_import.call import Call, Results
from compressc.frontend.onnx_import.registry import operator

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@operator("Conv")
def convolve(call: Call) -> Results:
    """Weight (out, in / groups, kernel...)."""
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    space = weight.dim() - 2
    if space not in _CONVOLUTIONS:
        raise call.unsupported(f"over {space} axes")
    strides = call.attribute("strides", [1] * space)
    dilations = call.attribute("dilations", [1] * space)
    x, padding = _padded(call, x, list(weight.shape[2:]), strides, dilations)
    convolution = _CONVOLUTIONS[space]
    groups = call.attribute("group", 1)
    return convolution(x, weight, bias, strides, padding, dilations, groups)


@operator("ConvTranspose")
def convolve_transposed(call: Call) -> Results:
    """Weight (in, out / groups, kernel...); what the padding takes off one end only is cut off."""
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    space = weight.dim() - 2
    if space not in _TRANSPOSED:
        raise call.unsupported(f"over {space} axes")
    kernel = list(weight.shape[2:])
    strides = call.attribute("strides", [1] * space)
    dilations = call.attribute("dilations", [1] * space)
    extra = list(call.attribute("output_padding", [0] * space))
    pads = list(call.attribute("pads", [0] * 2 * space))
    auto = call.attribute("auto_pad", "NOTSET")
    sizes = call.attribute("output_shape")
    if sizes is not None or auto in ("SAME_UPPER", "SAME_LOWER"):
        pads, extra = _transposed_pads(call, x, kernel, strides, dilations, extra)
    begin, end = pads[:space], pads[space:]
    common = [min(b, e) for b, e in zip(begin, end, strict=True)]
    groups = call.attribute("group", 1)
    # torch allows an output padding below the stride only, and the same padding at both ends.
    padding = [c if b == e else 0 for c, b, e in zip(common, begin, end, strict=True)]
    result = _TRANSPOSED[space](x, weight, bias, strides, padding, extra, groups, dilations)
    for axis in range(space):
        if begin[axis] != end[axis]:
            size = result.shape[2 + axis]
            result = result.narrow(2 + axis, begin[axis], size - begin[axis] - end[axis])
    return result


def _transposed_pads(
    call: Call,
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    extra: Sequence[int],
) -> tuple[list[int], list[int]]:
    """Return the pads that lead to the output size that is asked for."""
    space = len(kernel)
    asked = call.attribute("output_shape")
    begins, ends, extras = [], [], list(extra)
    for axis in range(space):
        size = int(x.shape[2 + axis])
        target = asked[-space:][axis] if asked is not None else size * strides[axis]
        full = strides[axis] * (size - 1) + extra[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        total = full - target
        if total < 0:
            extras[axis] += -total
            total = 0
        small, large = total // 2, total - total // 2
        upper = call.attribute("auto_pad", "NOTSET") == "SAME_UPPER"
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return begins + ends, extras


def _padded(
    call: Call,
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    value: float = 0.0,
) -> tuple[Tensor, list[int]]:
    """Return the input, padded where torch cannot, and the padding that is left to torch."""
    space = len(kernel)
    auto = call.attribute("auto_pad", "NOTSET")
    if auto == "VALID":
        return x, [0] * space
    if auto == "NOTSET":
        pads = list(call.attribute("pads", [0] * 2 * space))
    else:
        pads = [0] * 2 * space
        for axis in range(space):
            size = x.shape[2 + axis]
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            steps = -(-size // strides[axis])
            total = max(0, int((steps - 1) * strides[axis] + reach - size))
            small, large = total // 2, total - total // 2
            upper = auto == "SAME_UPPER"
            pads[axis], pads[space + axis] = (small, large) if upper else (large, small)
    begin, end = pads[:space], pads[space:]
    if begin == end:
        return x, begin
    flat = [p for b, e in zip(reversed(begin), reversed(end), strict=True) for p in (b, e)]
    return F.pad(x, flat, value=value), [0] * space


@operator("MaxPool")
def pool_maximum(call: Call) -> Results:
    """The largest value under the window; padding counts as minus infinity."""
    if len(call.node.outputs) > 1 and call.node.outputs[1]:
        raise call.unsupported("with the positions of the maxima as an output")
    x, kernel = call.tensor(0), call.attribute("kernel_shape")
    space = len(kernel)
    strides = call.attribute("strides", [1] * space)
    dilations = call.attribute("dilations", [1] * space)
    x, padding = _padded(call, x, kernel, strides, dilations, float("-inf"))
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        flat = [p for pad in reversed(padding) for p in (pad, pad)]
        x, padding = F.pad(x, flat, value=float("-inf")), [0] * space
    ceil = bool(call.attribute("ceil_mode", 0))
    return _MAX_POOLS[space](x, kernel, strides, padding, dilations, ceil)


@operator("AveragePool")
def pool_average(call: Call) -> Results:
    """The mean under the window, with or without the padding counted in."""
    x, kernel = call.tensor(0), call.attribute("kernel_shape")
    space = len(kernel)
    strides = call.attribute("strides", [1] * space)
    if any(d != 1 for d in call.attribute("dilations", [1] * space)):
        raise call.unsupported("with dilation")
    counts = bool(call.attribute("count_include_pad", 0))
    ceil = bool(call.attribute("ceil_mode", 0))
    pool = _AVERAGE_POOLS[space]
    padded, padding = _padded(call, x, kernel, strides, [1] * space)
    simple = padded is x and all(2 * p <= k for p, k in zip(padding, kernel, strict=True))
    if simple:
        return pool(x, kernel, strides, padding, ceil, counts)
    if ceil:
        raise call.unsupported("with unequal padding and ceil_mode")
    if padded is x:
        flat = [p for pad in reversed(padding) for p in (pad, pad)]
        padded = F.pad(x, flat)
    mean = pool(padded, kernel, strides)
    if counts:
        return mean
    # The share of each window that lies inside: the same pooling over ones.
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    inside, _ = _padded(call, ones, kernel, strides, [1] * space)
    if inside is ones:
        inside = F.pad(ones, [p for pad in reversed(padding) for p in (pad, pad)])
    return mean / pool(inside, kernel, strides)


@operator("LpPool")
def pool_norm(call: Call) -> Results:
    """The p-norm under the window."""
    kernel, power = call.attribute("kernel_shape"), call.attribute("p", 2)
    space = len(kernel)
    strides = call.attribute("strides", [1] * space)
    x, padding = _padded(call, call.tensor(0), kernel, strides, [1] * space)
    size = 1
    for side in kernel:
        size *= side
    powers = x.abs().pow(power)
    mean = _AVERAGE_POOLS[space](powers, kernel, strides, padding, False, True)
    return (mean * size).pow(1.0 / power)


@operator("GlobalAveragePool")
def pool_average_globally(call: Call) -> Results:
    """The mean over all axes of space."""
    x = call.tensor(0)
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool")
def pool_maximum_globally(call: Call) -> Results:
    """The maximum over all axes of space."""
    x = call.tensor(0)
    return x.amax(tuple(range(2, x.dim())), keepdim=True)
