"""Kernels: the nodes that ONNX Runtime really executes, after its own optimisations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compressc.runtime.profiled_session import Recording, TensorShape

# Sizes, axes and amounts are part of what a kernel does; longer tensors are weights.
_MOST_DATA = 64
_BYTES = {"double": 8, "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2, "int16": 2}
_BYTES |= {"uint16": 2, "int8": 1, "uint8": 1, "bool": 1}
_OPAQUE = (
    onnx.AttributeProto.GRAPH,
    onnx.AttributeProto.GRAPHS,
    onnx.AttributeProto.TENSOR,
    onnx.AttributeProto.TENSORS,
    onnx.AttributeProto.SPARSE_TENSOR,
)
_KINDS: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float",
    onnx.TensorProto.DOUBLE: "double",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT64: "uint64",
    onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.UINT16: "uint16",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.BOOL: "bool",
}

Attributes = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Operand:
    """One input of a kernel.

    Attributes:
        kind: element type, in ONNX Runtime's words: float, int64, uint8.
        shape: its sizes, as the runtime lays it out (channels padded to whole blocks).
        stored: whether it is a weight or constant of the file.
        data: the values of a small stored tensor of integers; None for all others.
    """

    kind: str
    shape: tuple[int, ...]
    stored: bool
    data: tuple[int, ...] | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor."""
        return math.prod(self.shape) * _BYTES.get(self.kind, 4)


@dataclass(frozen=True)
class Kernel:
    """One node as it is executed.

    Attributes:
        name: of the node in the optimised graph.
        op: ``Conv``; with its domain outside the standard one.
        attributes: name and plain value, sorted by name.
        operands: one per input, None where an optional one is left out.
        results: type and shape of each output.
        inputs, outputs: names of the values.
        opaque: whether an attribute is a graph or a tensor, which are not listed.
    """

    name: str
    op: str
    attributes: Attributes
    operands: tuple[Operand | None, ...]
    results: tuple[TensorShape, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opaque: bool = False

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written once: inputs, weights and outputs."""
        read = sum(operand.size_bytes for operand in self.operands if operand is not None)
        written = sum(Operand(kind, shape, False).size_bytes for kind, shape in self.results)
        return read + written

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return the value of an attribute."""
        return dict(self.attributes).get(name, default)


def read_kernels(recording: Recording, feeds: Mapping[str, Any]) -> tuple[Kernel, ...]:
    """Return the kernels of a recorded session in order of execution.

    Args:
        recording: of a session that was opened with optimisation and run at least once.
        feeds: the arrays it was run on, whose shapes are those of the inputs.
    """
    graph = recording.graph
    stored = {tensor.name: _stored(tensor) for tensor in graph.initializer}
    known: dict[str, Operand] = {
        name: Operand(_kind_of_array(array), tuple(array.shape), False)
        for name, array in feeds.items()
    }
    known |= stored
    kernels = []
    for node in graph.node:
        times = recording.nodes.get(node.name)
        if times is None:
            continue
        results = times.outputs
        outputs = [name for name in node.output if name]
        if len(outputs) == len(results):
            for name, (kind, shape) in zip(outputs, results, strict=True):
                known[name] = Operand(kind, shape, False)
        kernels.append(
            Kernel(
                name=node.name,
                op=_op(node),
                attributes=_attributes(node),
                operands=tuple(known.get(name) if name else None for name in node.input),
                results=results,
                inputs=tuple(node.input),
                outputs=tuple(node.output),
                opaque=any(a.type in _OPAQUE for a in node.attribute),
            )
        )
    return tuple(kernels)


def _op(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _attributes(node: onnx.NodeProto) -> Attributes:
    attributes = []
    for attribute in sorted(node.attribute, key=lambda a: str(a.name)):
        if attribute.type in _OPAQUE:
            continue
        value = helper.get_attribute_value(attribute)
        attributes.append((str(attribute.name), _plain(value)))
    return tuple(attributes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str | int | float):
        return value
    return tuple(_plain(item) for item in value)


def _stored(tensor: onnx.TensorProto) -> Operand:
    shape = tuple(tensor.dims)
    kind = _KINDS.get(tensor.data_type, "float")
    data = None
    whole = kind.startswith(("int", "uint"))
    if whole and math.prod(shape) <= _MOST_DATA and not tensor.external_data:
        data = tuple(int(value) for value in numpy_helper.to_array(tensor).ravel())
    return Operand(kind, shape, True, data)


def _kind_of_array(array: Any) -> str:
    kinds = {"float32": "float", "float64": "double", "object": "string"}
    name = np.asarray(array).dtype.name
    return kinds.get(name, name)
