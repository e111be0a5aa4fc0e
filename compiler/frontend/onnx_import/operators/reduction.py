"""Reductions, and what is computed from whole axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from compressc.frontend.onnx_import.call import Call, Results
from compressc.frontend.onnx_import.registry import operator

_Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _product(x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keepdim)
    return x


_REDUCTIONS: dict[str, _Reduction] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}


def _register(name: str, reduction: _Reduction) -> None:
    def compute(call: Call) -> Results:
        x, axes = call.tensor(0), call.setting("axes", 1)
        if not axes:
            if call.attribute("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.dim()))
        positive = tuple(axis % x.dim() for axis in axes) if x.dim() else ()
        result = reduction(x, positive, bool(call.attribute("keepdims", 1)))
        # torch sums small integers as int64.
        return result if result.dtype == x.dtype else result.to(x.dtype)

    operator(name)(compute)


for _name, _reduction in _REDUCTIONS.items():
    _register(_name, _reduction)


@operator("ArgMax")
def locate_largest(call: Call) -> Results:
    """The first position of the largest value along one axis."""
    return _locate(call, torch.argmax)


@operator("ArgMin")
def locate_smallest(call: Call) -> Results:
    """The first position of the smallest value along one axis."""
    return _locate(call, torch.argmin)


def _locate(call: Call, function: Callable[..., Tensor]) -> Tensor:
    if call.attribute("select_last_index", 0):
        raise call.unsupported("with select_last_index=1")
    axis, keep = call.attribute("axis", 0), bool(call.attribute("keepdims", 1))
    return function(call.tensor(0), axis, keepdim=keep)


@operator("Softmax")
def softmax(call: Call) -> Results:
    """Along one axis; before opset 13 over all axes from one on, taken as one."""
    return _over_axis(call, torch.softmax)


@operator("LogSoftmax")
def log_softmax(call: Call) -> Results:
    """The logarithm of the softmax."""
    return _over_axis(call, F.log_softmax)


def _over_axis(call: Call, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    x = call.tensor(0)
    if call.node.version >= 13:
        return function(x, call.attribute("axis", -1))
    axis = call.attribute("axis", 1) % max(x.dim(), 1)
    if axis == x.dim() - 1 or all(size == 1 for size in x.shape[axis + 1 :]):
        return function(x, axis)
    return function(torch.flatten(x, axis), axis).reshape(x.shape)


@operator("Hardmax")
def hardmax(call: Call) -> Results:
    """One at the first largest value along one axis, else zero."""
    x, axis = call.tensor(0), call.attribute("axis", -1 if call.node.version >= 13 else 1)
    best = torch.argmax(x, axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, best, torch.ones_like(best, dtype=x.dtype))
