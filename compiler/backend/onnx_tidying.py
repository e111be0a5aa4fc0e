"""Tidying: what the exporter leaves in an ONNX model that a runtime or a reader does not need."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compressc.backend.blocked_layout import keep_blocked

_INT64_MAX = 2**63 - 1
_MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def tidy(model: onnx.ModelProto) -> None:
    """Drop the exporter's private metadata and use the operators runtimes are fast at.

    Module scopes survive as the node metadata ``namespace``; source paths and stack traces of
    the exporting machine do not.
    """
    for holder in (model, model.graph):
        del holder.metadata_props[:]
        holder.ClearField("doc_string")
    for group in (
        model.graph.value_info,
        model.graph.initializer,
        model.graph.input,
        model.graph.output,
    ):
        for item in group:
            del item.metadata_props[:]
            item.ClearField("doc_string")
    _drop_signs_of_zeros(model.graph)
    keep_blocked(model.graph)
    _use_global_pooling(model.graph)
    _use_strided_slices(model.graph)


def drop_stale_parts(model: onnx.ModelProto) -> None:
    """Drop shapes of initializers, which these state themselves, and initializers nothing reads.

    Tools that rewrite a file (ONNX Runtime's quantisers) change a weight but not what is said
    about it elsewhere, and then refuse the contradiction.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    for info in [info for info in graph.value_info if info.name in stored]:
        graph.value_info.remove(info)
    drop_unused_initializers(graph)


def _names_read(graph: onnx.GraphProto) -> set[str]:
    # Inputs as well: an initializer that is also one is what is read where nobody feeds it.
    read = {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        read.update(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                read |= _names_read(inner)
    return read


def _drop_signs_of_zeros(graph: onnx.GraphProto) -> None:
    """Write every zero of a weight as +0.0.

    A batch norm of negative scale that is folded into a pruned convolution leaves -0.0, which
    multiplies like any zero and is stored like any other number: files with 90 % zeros were a
    fifth larger for it.
    """
    weights = {node.input[1] for node in graph.node if node.op_type in _MULTIPLYING}
    for tensor in graph.initializer:
        if tensor.name not in weights or tensor.data_type not in _FLOATS:
            continue
        array = numpy_helper.to_array(tensor)
        if (np.signbit(array) & (array == 0)).any():
            positive = np.where(array == 0, np.zeros((), array.dtype), array)
            tensor.CopyFrom(numpy_helper.from_array(positive, tensor.name))


def _use_global_pooling(graph: onnx.GraphProto) -> None:
    """Rewrite the mean over height and width as the pooling it is.

    Given:  ReduceMean(x, axes=[-1, -2]) with x of rank 4
    Result: GlobalAveragePool(x), and Flatten(axis=1) where keepdims=0. ONNX Runtime pools in its
    blocked layout, while a ReduceMean makes it convert back (2 % of EfficientNet-B0).
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    ranks = {
        info.name: len(info.type.tensor_type.shape.dim)
        for info in (*graph.value_info, *graph.input)
        if info.type.tensor_type.HasField("shape")
    }
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
            continue
        axes = {int(axis) % 4 for axis in numpy_helper.to_array(constants[node.input[1]]).ravel()}
        if ranks.get(node.input[0]) != 4 or axes != {2, 3}:
            continue
        keepdims = all(a.i == 1 for a in node.attribute if a.name == "keepdims")
        node.op_type = "GlobalAveragePool"
        del node.input[1:]
        del node.attribute[:]
        if not keepdims:
            flat = node.output[0]
            node.output[0] = f"{flat}/pooled"
            nodes.append(helper.make_node("Flatten", [node.output[0]], [flat], axis=1))
            nodes[-1].metadata_props.extend(node.metadata_props)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused_initializers(graph)


def _use_strided_slices(graph: onnx.GraphProto) -> None:
    """Rewrite a pooling of single pixels behind a Pad as the slice that it is.

    ONNX Runtime would fuse the two into a pooling whose padding exceeds its kernel, and then refuse
    the model.
    """
    padded = {node.output[0] for node in graph.node if node.op_type == "Pad"}
    for node in graph.node:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        kernel = given.get("kernel_shape", [0])
        if node.op_type not in ("AveragePool", "MaxPool") or node.input[0] not in padded:
            continue
        if any(side != 1 for side in kernel) or any(given.get("pads", [])):
            continue
        rank = len(kernel)
        bounds = {
            "starts": [0] * rank,
            "ends": [_INT64_MAX] * rank,
            "axes": list(range(2, 2 + rank)),
            "steps": list(given.get("strides", [1] * rank)),
        }
        for name, values in bounds.items():
            tensor = numpy_helper.from_array(
                np.array(values, dtype=np.int64), f"{node.output[0]}/{name}"
            )
            graph.initializer.append(tensor)
            node.input.append(tensor.name)
        node.op_type = "Slice"
        del node.attribute[:]


def drop_unused_initializers(graph: onnx.GraphProto) -> None:
    """Remove initializers that no node and no output reads, in the graph or its subgraphs."""
    used = _names_read(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
