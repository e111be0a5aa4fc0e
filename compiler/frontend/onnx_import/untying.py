"""Untying: vectors that several nodes of the file share become one for each of them."""

from __future__ import annotations

from dataclasses import replace

from compressc.frontend.onnx_import.graph import Constant, Graph, GraphNode


def untie_vectors(graph: Graph) -> Graph:
    """Give every node its own copy of the vectors that it reads.

    Given:  a constant with one axis at most that is longer than 1, read by several nodes.
    Result: a copy for each of them but the first.

    Exporters store equal tensors once, such as the zero biases and unit scales of layers that were
    never trained; shared, they would couple the channels of layers that have nothing in common.
    Matrices stay shared: an embedding that is the head as well is meant to be.
    """
    constants = dict(graph.constants)
    taken: set[str] = set()
    nodes: list[GraphNode] = []
    for index, node in enumerate(graph.nodes):
        inputs = list(node.inputs)
        for place, name in enumerate(inputs):
            constant = constants.get(name)
            if constant is None or not _is_vector(constant):
                continue
            if name in taken:
                # Without a source it is called after the node that reads it.
                inputs[place] = f"{name}/copy_{index}"
                constants[inputs[place]] = replace(constant, source="")
            taken.add(name)
        nodes.append(replace(node, inputs=tuple(inputs)))
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _is_vector(constant: Constant) -> bool:
    array = constant.array
    return array.dtype.kind == "f" and 1 < array.size == max(array.shape, default=0)
