"""What quantising and packing ask of a file: a newer operator set, names, weights in one place."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import version_converter

from compressc.error_text import quote_error
from compressc.errors import ExportError


def in_opset(model: onnx.ModelProto, oldest: int, what: str) -> onnx.ModelProto:
    """Return a model in an operator set of some version at least; itself where it is in one.

    Args:
        model: with its weights inside.
        oldest: the version.
        what: needs it, for the error.

    Raises:
        ExportError: if onnx cannot convert it.
    """
    opset = next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), oldest)
    if opset >= oldest:
        return model
    try:
        return version_converter.convert_version(model, oldest)
    except Exception as error:
        raise ExportError(
            f"{what} needs operator set {oldest}, and onnx cannot convert the file from {opset} "
            f"({quote_error(error)}); export it with a newer one, or leave out {what}"
        ) from error


def with_node_names(original: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which every node has a name, by which the quantiser tells them apart."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        if not node.name:
            name = f"{node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
    return model


def with_weights_on_top(original: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose larger constants are initializers of its main graph.

    Given:  Constant nodes, and initializers of graphs inside nodes, with more than one number.
    Result: initializers of the main graph, which inner graphs see, under names of their own.
    """
    model = onnx.ModelProto()
    model.CopyFrom(original)
    for depth, graph in enumerate(list(_graphs(model.graph))):
        moved = {}
        for index, node in reversed(list(enumerate(graph.node))):
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and value is not None and _is_long(value):
                moved[node.output[0]] = value
                del graph.node[index]
        for index, tensor in reversed(list(enumerate(graph.initializer)) if depth else []):
            if _is_long(tensor):
                moved[tensor.name] = tensor
                del graph.initializer[index]
        results = {value.name for value in graph.output}
        for name, tensor in moved.items():
            stored = model.graph.initializer.add()
            stored.CopyFrom(tensor)
            # Branches of one If may use the same names.
            stored.name = f"{name}/{depth}" if depth else name
            for reader in _nodes(graph) if depth else ():
                reader.input[:] = [stored.name if x == name else x for x in reader.input]
            if depth and name in results:
                graph.node.add(op_type="Identity", input=[stored.name], output=[name])
    return model


def _is_long(tensor: onnx.TensorProto) -> bool:
    return bool(sum(tensor.dims) > max(1, len(tensor.dims)))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph, then those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for inner in _graphs(graph):
        yield from inner.node
