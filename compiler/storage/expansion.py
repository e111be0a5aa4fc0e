"""Expansion: a compact file as a dense one of standard operators, for runtimes that want those."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from compressc.errors import ExportError
from compressc.runtime.session import create_session
from compressc.storage.onnx_unpacking import DOMAIN


def expand(model: ModelProto) -> ModelProto:
    """Return the model with every packed weight written out, and no function of ours left.

    The weights are computed by ONNX Runtime from the packed ones, so that they are the same bit by
    bit. A model without packed weights comes back as it is.

    Args:
        model: left as it is.

    Raises:
        ExportError: if what unpacks a weight reads something else than the file.
    """
    graph = model.graph
    unpacking = _unpacking_nodes(graph)
    if not unpacking:
        return model
    nodes = [graph.node[place] for place in sorted(unpacking)]
    others = [node for place, node in enumerate(graph.node) if place not in unpacking]
    read = {name for node in others for name in node.input}
    read |= {value.name for value in graph.output}
    outputs = [name for node in nodes for name in node.output if name in read]
    arrays = _compute(model, nodes, outputs)
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(others)
    result.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in zip(outputs, arrays, strict=True)
    )
    _drop_unread(result)
    return result


def _unpacking_nodes(graph: onnx.GraphProto) -> set[int]:
    """Return the places of the nodes between packed weights and what reads the weights."""
    constant = {tensor.name for tensor in graph.initializer}
    foldable: list[int] = []
    for place, node in enumerate(graph.node):
        if all(not name or name in constant for name in node.input):
            foldable.append(place)
            constant.update(node.output)
    kept: set[int] = set()
    of_ours: set[str] = set()
    for place in foldable:
        node = graph.node[place]
        if node.domain == DOMAIN or of_ours.intersection(node.input):
            of_ours.update(node.output)
            kept.add(place)
    feeding = {name for place in kept for name in graph.node[place].input}
    for place in reversed(foldable):
        if place not in kept and feeding.intersection(graph.node[place].output):
            kept.add(place)
            feeding.update(graph.node[place].input)
    for place, node in enumerate(graph.node):
        if node.domain == DOMAIN and place not in kept:
            raise ExportError(
                f"node '{node.name}' unpacks a weight from something that is computed; this is no "
                "file of compressc"
            )
    return kept


def _compute(
    model: ModelProto, nodes: Iterable[NodeProto], outputs: list[str]
) -> list[NDArray[Any]]:
    part = ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.input[:], part.graph.output[:], part.graph.value_info[:]
    part.graph.node.extend(nodes)
    part.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs
    )
    return list(create_session(part.SerializeToString(), "the packed weights").run(outputs, {}))


def _drop_unread(model: ModelProto) -> None:
    """Remove what only unpacking read: packed tensors, shapes, our functions and their domain."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    read |= {value.name for value in (*graph.input, *graph.output)}
    read |= {
        name
        for node in graph.node
        for attribute in node.attribute
        for inner in (attribute.g, *attribute.graphs)
        for inner_node in inner.node
        for name in inner_node.input
    }
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)
    stored = {tensor.name for tensor in graph.initializer}
    for info in [i for i in graph.value_info if i.name not in read or i.name in stored]:
        graph.value_info.remove(info)
    for function in [f for f in model.functions if f.domain == DOMAIN]:
        model.functions.remove(function)
    for opset in [entry for entry in model.opset_import if entry.domain == DOMAIN]:
        model.opset_import.remove(opset)
