"""Models that run single kernels the way a network runs them.

A cell is one kernel at given widths. Its activations come from a node right before it, so that
they lie in the cache as a previous layer leaves them; its weights were last used a whole run ago,
with the weights of all other cells in between, as in a network. Nodes of the blocked layout are
written directly, in the runtime's own domain, so that no cell pays for reordering.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compressc.runtime.kernel_kinds import KernelKind, OperandForm, Widths

_DEFAULT_OPSET = 18
_IR_VERSION = 9
_DOMAINS = ("com.microsoft", "com.microsoft.nchwc")
# Any value does, but squares, roots and logarithms of it must be ordinary numbers.
_FILL = 0.03125
_DTYPES: dict[str, tuple[int, type[Any]]] = {
    "float": (TensorProto.FLOAT, np.float32),
    "double": (TensorProto.DOUBLE, np.float64),
    "float16": (TensorProto.FLOAT16, np.float16),
    "int64": (TensorProto.INT64, np.int64),
    "int32": (TensorProto.INT32, np.int32),
    "int16": (TensorProto.INT16, np.int16),
    "int8": (TensorProto.INT8, np.int8),
    "uint64": (TensorProto.UINT64, np.uint64),
    "uint32": (TensorProto.UINT32, np.uint32),
    "uint16": (TensorProto.UINT16, np.uint16),
    "uint8": (TensorProto.UINT8, np.uint8),
    "bool": (TensorProto.BOOL, np.bool_),
}


@dataclass(frozen=True)
class Cell:
    """A kernel kind at some widths."""

    kind: KernelKind
    widths: Widths

    @property
    def size_bytes(self) -> int:
        """About how many bytes its operands take."""
        return 4 * self.kind.elements(self.widths)


@dataclass(frozen=True, eq=False)
class CellModel:
    """A serialised model of many cells.

    Attributes:
        serialized: the ModelProto.
        feeds: its inputs.
        names: the node of each cell, in the order the cells were given.
    """

    serialized: bytes
    feeds: dict[str, NDArray[Any]]
    names: tuple[str, ...]


def can_build(kind: KernelKind) -> bool:
    """Return whether cells of a kind can be built: all element types are known to numpy."""
    return all(form is None or form.kind in _DTYPES for form in kind.operands)


def build_cells(cells: Sequence[Cell]) -> CellModel:
    """Return one model of many cells of the same opset (or of none)."""
    feeds: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    sinks, names = [], []
    for number, cell in enumerate(cells):
        inputs: list[str] = []
        shapes = cell.kind.shapes(cell.widths)
        for place, (form, shape) in enumerate(zip(cell.kind.operands, shapes, strict=True)):
            if form is None or shape is None:
                inputs.append("")
                continue
            name = f"c{number}_{place}"
            if form.stored:
                weights.append(numpy_helper.from_array(_stored(form, shape), name))
            else:
                source = f"{form.kind}_{'x'.join(map(str, shape))}"
                feeds.setdefault(source, _values(form, shape))
                operation = "Relu" if form.kind == "float" else "Identity"
                nodes.append(helper.make_node(operation, [source], [name], name=f"fill_{name}"))
            inputs.append(name)
        names.append(f"cell{number}")
        outputs = [
            f"y{number}_{place}" if exists else "" for place, exists in enumerate(cell.kind.outputs)
        ]
        domain, _, op = cell.kind.op.rpartition(".")
        node = helper.make_node(op, inputs, outputs, name=names[-1], domain=domain)
        for attribute, value in cell.kind.bound_attributes(cell.widths).items():
            if value != ():
                node.attribute.append(helper.make_attribute(attribute, _listed(value)))
        nodes.append(node)
        # Keeps the result alive without copying it out.
        sinks.append(f"s{number}")
        result = next(name for name in outputs if name)
        nodes.append(helper.make_node("Shape", [result], [sinks[-1]], name=f"sink{number}"))
    graph = helper.make_graph(
        nodes,
        "cells",
        [_value_info(name, array) for name, array in feeds.items()],
        [helper.make_tensor_value_info(sink, TensorProto.INT64, None) for sink in sinks],
        weights,
    )
    opset = max((cell.kind.opset for cell in cells), default=0) or _DEFAULT_OPSET
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in _DOMAINS)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    return CellModel(model.SerializeToString(), feeds, tuple(names))


def _stored(form: OperandForm, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = _DTYPES[form.kind][1]
    if form.data is not None and len(form.data) == math.prod(shape):
        return np.array(form.data, dtype).reshape(shape)
    return _values(form, shape)


def _values(form: OperandForm, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = _DTYPES[form.kind][1]
    return np.full(shape, _FILL if issubclass(dtype, np.floating) else 0, dtype)


def _value_info(name: str, array: NDArray[Any]) -> onnx.ValueInfoProto:
    kind = _DTYPES[name.partition("_")[0]][0]
    return helper.make_tensor_value_info(name, kind, array.shape)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
