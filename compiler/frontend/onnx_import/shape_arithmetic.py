"""Shape arithmetic: chains of Shape, Gather, Concat and the like on numbers known while tracing.

Sizes that are fixed stay numbers; those that are not, such as the batch, are ``torch.SymInt`` in
arrays of objects, on which NumPy computes element by element.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressc.frontend.onnx_import.call import Call, positive_axes
from compressc.frontend.onnx_import.folding import evaluate_node
from compressc.frontend.onnx_import.known import Known, is_symbol, know

_Arithmetic = Callable[[Call], Any]


def compute_known(call: Call) -> tuple[Known, ...] | None:
    """Return the outputs of a node whose inputs are known, or that asks for a shape.

    Returns None where the node has to be computed with tensors.

    Raises:
        CaptureError: if a value would be unreasonably large.
    """
    name = call.node.operator
    if name in ("Shape", "Size"):
        return (_measure(call),)
    if name in _SMALL_TENSORS_ONLY or any(isinstance(v, Tensor) for v in call.inputs):
        return None
    given = [value for value in call.inputs if isinstance(value, Known)]
    if not given or any(value.stored is not None and value.numbers.ndim > 1 for value in given):
        return None
    if all(value.is_fixed for value in given):
        return _evaluate(call)
    if name not in _SYMBOLIC:
        return None
    return (know(_SYMBOLIC[name](call), _result_type(call, given[0].dtype)),)


# Values that are better made by torch where they are read, such as tables of positions.
_SMALL_TENSORS_ONLY = frozenset({"If", "Loop", "Scan"})


def _measure(call: Call) -> Known:
    value = call.inputs[0]
    shape = list(value.numbers.shape if isinstance(value, Known) else call.tensor(0).shape)
    if call.node.operator == "Size":
        return know(reduce(operator.mul, shape, 1), np.int64)
    span = slice(call.attribute("start", 0), call.attribute("end"))
    return know(shape[span], np.int64)


def _evaluate(call: Call) -> tuple[Known, ...] | None:
    if any(not isinstance(value, Known) for value in call.inputs if value is not None):
        return None
    arrays = {
        name: value.numbers
        for name, value in zip(call.node.inputs, call.inputs, strict=True)
        if isinstance(value, Known)
    }
    return tuple(Known(array, array.dtype) for array in evaluate_node(call.node, arrays))


def _result_type(call: Call, first: np.dtype[Any]) -> np.dtype[Any]:
    name = call.node.operator
    if name == "Cast":
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(call.attribute("to")))
    if name in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or"):
        return np.dtype(bool)
    if name == "Where":
        value = call.inputs[1]
        return value.dtype if isinstance(value, Known) else first
    return first


def _array(call: Call, index: int) -> NDArray[Any]:
    known = call.known(index)
    assert known is not None
    return known.astype(object)


def _pairwise(function: Callable[[Any, Any], Any]) -> _Arithmetic:
    each = np.frompyfunc(function, 2, 1)
    return lambda call: each(_array(call, 0), _array(call, 1))


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, (float, torch.SymFloat)) or isinstance(right, (float, torch.SymFloat)):
        return left / right
    return left // right


def _cast(call: Call) -> Any:
    to = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(call.attribute("to")))

    def convert(entry: Any) -> Any:
        if not is_symbol(entry):
            return to.type(entry).item()
        return torch.sym_float(entry) if to.kind == "f" else torch.sym_int(entry)  # type: ignore[no-untyped-call]

    return np.frompyfunc(convert, 1, 1)(_array(call, 0))


def _gather(call: Call) -> Any:
    indices = call.known(1)
    assert indices is not None
    return np.take(_array(call, 0), indices.astype(np.int64), axis=call.attribute("axis", 0))


def _slice(call: Call) -> Any:
    array = _array(call, 0)
    starts, ends = call.setting("starts", 1), call.setting("ends", 2)
    axes = call.setting("axes", 3) or list(range(len(starts)))
    steps = call.setting("steps", 4) or [1] * len(starts)
    span = [slice(None)] * array.ndim
    for axis, *bounds in zip(positive_axes(axes, array.ndim), starts, ends, steps, strict=True):
        span[axis] = slice(*bounds)
    return array[tuple(span)]


def _squeeze(call: Call) -> Any:
    axes = call.setting("axes", 1)
    return np.squeeze(_array(call, 0), None if axes is None else tuple(axes))


def _choose(call: Call) -> Any:
    pick = np.frompyfunc(lambda condition, yes, no: yes if condition else no, 3, 1)
    return pick(_array(call, 0), _array(call, 1), _array(call, 2))


def _reduce(function: Callable[[Any, Any], Any]) -> _Arithmetic:
    def compute(call: Call) -> Any:
        entries = _array(call, 0).reshape(-1).tolist()
        keep = bool(call.attribute("keepdims", 1))
        return [reduce(function, entries)] if keep else reduce(function, entries)

    return compute


_SYMBOLIC: dict[str, _Arithmetic] = {
    "Add": _pairwise(operator.add),
    "Sub": _pairwise(operator.sub),
    "Mul": _pairwise(operator.mul),
    "Div": _pairwise(_divide),
    "Mod": _pairwise(operator.mod),
    "Equal": _pairwise(operator.eq),
    "Less": _pairwise(operator.lt),
    "Greater": _pairwise(operator.gt),
    "LessOrEqual": _pairwise(operator.le),
    "GreaterOrEqual": _pairwise(operator.ge),
    "Min": _pairwise(torch.sym_min),
    "Max": _pairwise(torch.sym_max),
    "Neg": lambda call: -_array(call, 0),
    "Cast": _cast,
    "Concat": lambda call: np.concatenate([_array(call, i) for i in range(len(call.inputs))]),
    "Gather": _gather,
    "Identity": lambda call: _array(call, 0),
    "Reshape": lambda call: _array(call, 0).reshape([int(n) for n in call.numbers(1, "a shape")]),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": lambda call: np.expand_dims(_array(call, 0), tuple(call.setting("axes", 1))),
    "Where": _choose,
    "ReduceProd": _reduce(operator.mul),
    "ReduceSum": _reduce(operator.add),
    "ReduceMax": _reduce(torch.sym_max),
    "ReduceMin": _reduce(torch.sym_min),
    "Ceil": lambda call: np.frompyfunc(lambda e: e.__ceil__(), 1, 1)(_array(call, 0)),
    "Floor": lambda call: np.frompyfunc(lambda e: e.__floor__(), 1, 1)(_array(call, 0)),
}
