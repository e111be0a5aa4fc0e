"""Elementwise operators."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional as F

from compressc.frontend.onnx_import.call import Call, Results
from compressc.frontend.onnx_import.element_types import torch_type
from compressc.frontend.onnx_import.registry import operator

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
# Operations of torch that take no number in the place of a tensor.
_TENSORS_ONLY = frozenset({"And", "Or", "Xor"})
_SWAPPED = {
    "Equal": torch.eq,
    "Greater": torch.lt,
    "GreaterOrEqual": torch.le,
    "Less": torch.gt,
    "LessOrEqual": torch.ge,
}


def _register_unary(name: str, function: Callable[[Tensor], Tensor]) -> None:
    operator(name)(lambda call: function(call.tensor(0)))


def _register_binary(name: str, function: Callable[[Any, Any], Any]) -> None:
    def compute(call: Call) -> Results:
        left, right = call.operands()
        if name in _TENSORS_ONLY or not (isinstance(left, Tensor) or isinstance(right, Tensor)):
            left, right = call.tensor(0), call.tensor(1)
        if isinstance(left, Tensor):
            result = function(left, right)
        elif name in _SWAPPED:
            result = _SWAPPED[name](right, left)
        elif name == "Sub":
            result = torch.rsub(right, left)
        else:
            result = function(right, left)
        return _aligned(call, result)

    operator(name)(compute)


def _aligned(call: Call, result: Tensor) -> Tensor:
    """Return the result with the rows of a broadcast of operator sets before 7 undone."""
    if call.attribute("broadcast", 0) and call.attribute("axis") is not None:
        raise call.unsupported("with a broadcast along an axis (operator sets before 7)")
    return result


for _name, _function in _UNARY.items():
    _register_unary(_name, _function)
for _name, _binary in _BINARY.items():
    _register_binary(_name, _binary)


@operator("Div")
def divide(call: Call) -> Results:
    """Division; of integers towards zero."""
    left, right = call.operands()
    if not isinstance(left, Tensor):
        left = call.tensor(0)
    if left.is_floating_point():
        return torch.div(left, right)
    return torch.div(left, right, rounding_mode="trunc")


@operator("Mod")
def remainder(call: Call) -> Results:
    """The remainder with the sign of the divisor, of the dividend where fmod=1."""
    left, right = call.tensor(0), call.operands()[1]
    return torch.fmod(left, right) if call.attribute("fmod", 0) else torch.remainder(left, right)


@operator("Pow")
def power(call: Call) -> Results:
    """Power; the result has the type of the base."""
    base, exponent = call.operands()
    if not isinstance(base, Tensor) and not isinstance(exponent, Tensor):
        base = call.tensor(0)
    result: Tensor = torch.pow(base, exponent)
    if isinstance(base, Tensor) and result.dtype != base.dtype:
        result = result.to(base.dtype)
    return result


@operator("Min")
def smallest(call: Call) -> Results:
    """The smallest of any number of values."""
    return _extreme(call, torch.minimum, "max")


@operator("Max")
def largest(call: Call) -> Results:
    """The largest of any number of values."""
    return _extreme(call, torch.maximum, "min")


def _extreme(call: Call, function: Callable[[Tensor, Tensor], Tensor], bound: str) -> Tensor:
    operands = call.operands()
    tensors = [operand for operand in operands if isinstance(operand, Tensor)]
    if not tensors:
        tensors, operands = [call.tensor(index) for index in range(len(operands))], []
    result = tensors[0]
    for tensor in tensors[1:]:
        result = function(result, tensor)
    for operand in operands:
        if not isinstance(operand, Tensor):
            result = torch.clamp(result, **{bound: operand})
    return result


@operator("Sum")
def add_all(call: Call) -> Results:
    """The sum of any number of values."""
    result, *others = call.tensors()
    for other in others:
        result = result + other
    return result


@operator("Mean")
def average_all(call: Call) -> Results:
    """The mean of any number of values."""
    total = add_all(call)
    assert isinstance(total, Tensor)
    return total / len(call.inputs)


@operator("Clip")
def clip(call: Call) -> Results:
    """Bounds are attributes before opset 11, inputs since; either may be missing."""
    x = call.tensor(0)
    bounds: list[Any] = []
    for index, name in ((1, "min"), (2, "max")):
        known = call.known(index)
        if known is not None:
            bounds.append(known.reshape(-1)[0].item())
        elif call.has(index):
            raise call.unsupported("with bounds that are computed from the data")
        else:
            bounds.append(call.attribute(name))
    low, high = (None if b is None or abs(b) in (inf, _LARGEST) else b for b in bounds)
    if low is None and high is None:
        return x
    if low == 0.0 and high == 6.0 and x.is_floating_point():
        return F.relu6(x)
    if low == 0.0 and high is None and x.is_floating_point():
        return torch.relu(x)
    return torch.clamp(x, low, high)


# Exporters write "no bound" as the largest float32.
_LARGEST = float(np.finfo(np.float32).max)


@operator("LeakyRelu")
def leak(call: Call) -> Results:
    """A small slope below zero."""
    return F.leaky_relu(call.tensor(0), call.attribute("alpha", 0.01))


@operator("Elu")
def exponential_unit(call: Call) -> Results:
    """``alpha * (exp(x) - 1)`` below zero."""
    return F.elu(call.tensor(0), call.attribute("alpha", 1.0))


@operator("Celu")
def continuous_exponential_unit(call: Call) -> Results:
    """``alpha * (exp(x / alpha) - 1)`` below zero."""
    return F.celu(call.tensor(0), call.attribute("alpha", 1.0))


@operator("Selu")
def scaled_exponential_unit(call: Call) -> Results:
    """Self-normalising unit; torch knows its own constants only."""
    x = call.tensor(0)
    alpha = call.attribute("alpha", 1.67326319217681884765625)
    gamma = call.attribute("gamma", 1.05070102214813232421875)
    result: Tensor = gamma * F.elu(x, alpha)
    return result


@operator("HardSigmoid")
def hard_sigmoid(call: Call) -> Results:
    """``max(0, min(1, alpha * x + beta))``."""
    x = call.tensor(0)
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


@operator("Swish")
def swish(call: Call) -> Results:
    """``x * sigmoid(alpha * x)``."""
    x, alpha = call.tensor(0), call.attribute("alpha", 1.0)
    return F.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)


@operator("ThresholdedRelu")
def threshold(call: Call) -> Results:
    """Zero up to alpha."""
    return F.threshold(call.tensor(0), call.attribute("alpha", 1.0), 0.0)


@operator("Shrink")
def shrink(call: Call) -> Results:
    """Values near zero become zero, others move towards it by the bias."""
    x, lambd, bias = call.tensor(0), call.attribute("lambd", 0.5), call.attribute("bias", 0.0)
    zero = torch.zeros_like(x)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero))


@operator("Gelu", "com.microsoft:Gelu")
def gaussian_unit(call: Call) -> Results:
    """Exact, or by the tangent."""
    return F.gelu(call.tensor(0), approximate=call.attribute("approximate", "none"))


@operator("PRelu")
def parametric_unit(call: Call) -> Results:
    """A learned slope below zero; per channel where its shape is (channels, 1, ...)."""
    x, slope = call.tensor(0), call.tensor(1)
    trailing = all(size == 1 for size in slope.shape[1:])
    if slope.numel() == 1 or (trailing and slope.dim() == x.dim() - 1):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, slope * x, x)


@operator("Where")
def choose(call: Call) -> Results:
    """Elements of one value or the other."""
    condition, first, second = call.operands()
    if not isinstance(condition, Tensor):
        condition = call.tensor(0)
    if not isinstance(first, Tensor) and not isinstance(second, Tensor):
        first = call.tensor(1)
    return torch.where(condition, first, second)


@operator("IsInf")
def is_infinite(call: Call) -> Results:
    """Infinite, of either sign or of one."""
    x = call.tensor(0)
    signs = call.attribute("detect_positive", 1), call.attribute("detect_negative", 1)
    if signs == (1, 1):
        return torch.isinf(x)
    return torch.eq(x, inf if signs[0] else -inf)


@operator("Cast")
def cast(call: Call) -> Results:
    """Another element type."""
    to = call.attribute("to")
    if to == onnx.TensorProto.STRING:
        raise call.unsupported("to strings")
    return call.tensor(0).to(torch_type(to))


@operator("CastLike")
def cast_like(call: Call) -> Results:
    """The element type of another value."""
    return call.tensor(0).to(call.tensor(1).dtype)


@operator("Identity", "Dropout")
def pass_on(call: Call) -> Results:
    """What training leaves behind."""
    if len(call.node.outputs) > 1 and call.node.outputs[1]:
        raise call.unsupported("with its mask as an output")
    return call.inputs[0]
