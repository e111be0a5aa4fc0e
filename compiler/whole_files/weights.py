"""Weights of an ONNX file: the stored tensors that its layers multiply with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from onnx import TensorProto

# Operators that sum over products with a weight, and the inputs where it may stand.
_WEIGHT_INPUTS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "FusedConv"), (1,)),
    **dict.fromkeys(("MatMul", "FusedMatMul", "Gemm", "FusedGemm"), (0, 1)),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), (1, 2)),
}
_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
# Through these a stored tensor is still the same one to its reader.
_VIEWS = frozenset({"Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})

Stored = dict[str, TensorProto]


def list_weights(model: onnx.ModelProto, *, inside: bool = True) -> dict[str, TensorProto]:
    """Return the weights by ``LAYER.weight``, in the order of their first readers.

    Args:
        model: the file, whose own tensors are returned.
        inside: whether to look into graphs inside nodes.

    Depthwise weights are not among them: they are few, and each feeds a channel.
    """
    weights: dict[str, TensorProto] = {}
    known: set[int] = set()
    for layer, tensor in _walk(model.graph, {}, inside):
        # By identity: messages of protobuf are compared by content.
        if id(tensor) in known:
            continue
        known.add(id(tensor))
        name, number = f"{layer}.weight", 2
        while name in weights:
            name, number = f"{layer}.weight_{number}", number + 1
        weights[name] = tensor
    return weights


def list_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Yield every stored tensor of a graph and of the graphs inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                yield attribute.t
            for inner in _graphs(attribute):
                yield from list_tensors(inner)


def _walk(graph: onnx.GraphProto, outer: Stored, inside: bool) -> Iterator[tuple[str, TensorProto]]:
    stored: Stored = {**outer, **{tensor.name: tensor for tensor in graph.initializer}}
    for value in (*graph.input, *graph.output):
        # What is fed from outside, or handed out as it is, is no weight.
        stored.pop(value.name, None)
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    stored[node.output[0]] = attribute.t
        elif node.op_type in _VIEWS and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
        elif node.domain in _DOMAINS:
            for place in _WEIGHT_INPUTS.get(node.op_type, ()):
                tensor = stored.get(node.input[place]) if place < len(node.input) else None
                if tensor is not None and _is_weight(tensor, node):
                    yield node.name or node.output[0], tensor
        for attribute in node.attribute if inside else ():
            for inner in _graphs(attribute):
                yield from _walk(inner, stored, inside)


def _graphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _is_weight(tensor: TensorProto, node: onnx.NodeProto) -> bool:
    if tensor.data_type not in _FLOATS or len(tensor.dims) < 2:
        return False
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    return groups == 1 or tensor.dims[1] > 1
