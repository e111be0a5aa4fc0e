"""Compactly stored weights, seen as the tensors that they stand for.

compressc stores sparse weights packed and rebuilds them with nodes that a runtime folds when it
loads the file: calls of the functions ``UnpackMask`` and ``UnpackGaps`` of the domain
``compressc``, or a ScatterElements into a filled tensor. To count a model, such a weight is one
tensor of its full shape.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import numpy_helper

_DOMAIN = "compressc"


def restore_packed(graph: onnx.GraphProto) -> None:
    """Replace nodes that rebuild a weight by an initializer of its shape, without data.

    The packed parts go with the nodes.
    """
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    rebuilt: dict[str, list[int]] = {}
    for node in graph.node:
        shape = _rebuilt_shape(node, initializers, producers)
        if shape is not None:
            rebuilt[node.output[0]] = shape
    if not rebuilt:
        return
    used = {output.name for output in graph.output}
    kept = []
    # From the end, so that what only served a rebuilt weight is seen to be unused.
    for node in reversed(graph.node):
        if not any(name in rebuilt for name in node.output) and any(n in used for n in node.output):
            kept.append(node)
            used.update(_names_read(node))
    for name, shape in rebuilt.items():
        graph.initializer.add(name=name, dims=shape, data_type=onnx.TensorProto.FLOAT)
    parts = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:]
    graph.node.extend(reversed(kept))
    del graph.initializer[:]
    graph.initializer.extend(parts)


def _rebuilt_shape(
    node: onnx.NodeProto,
    initializers: dict[str, onnx.TensorProto],
    producers: dict[str, onnx.NodeProto],
) -> list[int] | None:
    if node.domain == _DOMAIN:
        return next((list(a.ints) for a in node.attribute if a.name == "shape"), None)
    if node.op_type != "ScatterElements" or any(n not in initializers for n in node.input[1:]):
        return None
    filled = producers.get(node.input[0])
    if filled is None or filled.op_type != "ConstantOfShape":
        return None
    sizes = initializers.get(filled.input[0])
    return None if sizes is None else [int(size) for size in numpy_helper.to_array(sizes)]


def _names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node and its subgraphs read."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                yield from _names_read(inner)
            yield from (output.name for output in attribute.g.output)
