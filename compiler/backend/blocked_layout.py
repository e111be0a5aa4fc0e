"""Operators that keep ONNX Runtime in its blocked channel layout.

Convolutions run in a layout that few operators know. One that does not makes the runtime convert
its input back, and every residual sum behind it stays out of the convolution it would have been
fused into: 15 % of a ResNet-56 with option-A shortcuts.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compressc.array_types import IntArray

_FLOAT = onnx.TensorProto.FLOAT


def keep_blocked(graph: onnx.GraphProto) -> None:
    """Rewrite strided slices over space as poolings, and drop paddings by nothing, in place."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    shapes = _shapes(graph)
    poolings: dict[str, onnx.NodeProto] = {}
    renamed: dict[str, str] = {}
    outputs = {output.name for output in graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        if node.op_type == "Pad" and node.output[0] not in outputs and _is_empty(node, constants):
            renamed[node.output[0]] = node.input[0]
            continue
        strides = _strides(node, constants, shapes) if node.op_type == "Slice" else None
        if strides is not None:
            _become_pooling(node, strides, poolings)
            poolings[node.output[0]] = node
        nodes.append(node)
    read = outputs.union(*(node.input for node in nodes))
    # The first of two merged poolings may have lost its last reader.
    kept = [node for node in nodes if node.output[0] in read or node.output[0] not in poolings]
    del graph.node[:]
    graph.node.extend(kept)


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Return the shapes of float32 tensors; 0 stands for a dynamic size."""
    return {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in (*graph.value_info, *graph.input)
        if info.type.tensor_type.elem_type == _FLOAT and info.type.tensor_type.HasField("shape")
    }


def _is_empty(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    amounts = _array(node, 1, constants)
    return amounts is not None and not amounts.any()


def _array(
    node: onnx.NodeProto, index: int, constants: dict[str, onnx.TensorProto]
) -> IntArray | None:
    if index >= len(node.input) or node.input[index] not in constants:
        return None
    return np.asarray(numpy_helper.to_array(constants[node.input[index]]), dtype=np.int64).ravel()


def _strides(
    node: onnx.NodeProto,
    constants: dict[str, onnx.TensorProto],
    shapes: dict[str, list[int]],
) -> list[int] | None:
    """Return the strides over height and width of ``x[:, :, ::a, ::b]``, None for other slices."""
    shape = shapes.get(node.input[0])
    starts, ends, axes, steps = (_array(node, index, constants) for index in (1, 2, 3, 4))
    if shape is None or len(shape) != 4 or starts is None or ends is None:
        return None
    if axes is None or steps is None or (starts != 0).any() or (steps < 1).any():
        return None
    strides = [1, 1]
    for end, axis, step in zip(ends, axes % 4, steps, strict=True):
        whole = end >= (shape[axis] or np.iinfo(np.int32).max)
        if axis < 2 or not whole:
            return None
        strides[axis - 2] = int(step)
    return strides if max(strides) > 1 else None


def _become_pooling(
    node: onnx.NodeProto, strides: list[int], poolings: dict[str, onnx.NodeProto]
) -> None:
    """Given Slice(x, ::a, ::b). Result: AveragePool of one element each, of the first input."""
    before = poolings.get(node.input[0])
    source = node.input[0]
    if before is not None:
        source = before.input[0]
        inner = next(a.ints for a in before.attribute if a.name == "strides")
        strides = [outer * other for outer, other in zip(strides, inner, strict=True)]
    node.op_type = "AveragePool"
    del node.input[:]
    node.input.append(source)
    del node.attribute[:]
    node.attribute.extend(
        [
            helper.make_attribute("kernel_shape", [1, 1]),
            helper.make_attribute("strides", strides),
        ]
    )
