"""Linear layers, as exporters take them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compressc.frontend.onnx_import.graph import Constant, Graph, GraphNode

# The operator that a linear layer becomes.
LINEAR = "compressc:Linear"


def join_linear_layers(graph: Graph) -> Graph:
    """Write products with a constant matrix as linear layers, so that passes know them as such.

    Given:  MatMul(x, W), followed by Add(·, b) or not; Gemm(x, W, b) with factors of 1.
    Result: Linear(x, Wᵀ, b), the weight stored as (out, in).
    """
    constants = dict(graph.constants)
    readers = _count_readers(graph)
    added = _sole_additions(graph, readers)
    nodes: list[GraphNode] = []
    dropped: set[int] = set()
    for node in graph.nodes:
        if id(node) in dropped:
            continue
        weight = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if weight is None or weight.array.ndim != 2 or weight.array.dtype.kind != "f":
            nodes.append(node)
            continue
        if node.operator == "MatMul":
            name = _transposed(constants, node.inputs[1])
            addition = added.get(node.outputs[0])
            bias = _bias(addition, node.outputs[0], constants, weight.array.shape[1])
            if addition is not None and bias:
                dropped.add(id(addition))
                inputs = (node.inputs[0], name, bias)
                nodes.append(
                    replace(node, operator=LINEAR, inputs=inputs, outputs=addition.outputs)
                )
            else:
                nodes.append(replace(node, operator=LINEAR, inputs=(node.inputs[0], name)))
        elif node.operator == "Gemm" and _is_plain(node, constants):
            flipped = not node.attributes.get("transB", 0)
            name = _transposed(constants, node.inputs[1]) if flipped else node.inputs[1]
            given = (node.inputs[0], name, *(n for n in node.inputs[2:] if n))
            nodes.append(replace(node, operator=LINEAR, inputs=given, attributes={}))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _is_plain(node: GraphNode, constants: Mapping[str, Constant]) -> bool:
    factors = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    if factors != (1.0, 1.0) or node.attributes.get("transA", 0):
        return False
    if len(node.inputs) < 3 or not node.inputs[2]:
        return True
    bias = constants.get(node.inputs[2])
    axis = 0 if node.attributes.get("transB", 0) else 1
    width = constants[node.inputs[1]].array.shape[axis]
    return bias is not None and bias.array.shape == (width,)


def _transposed(constants: dict[str, Constant], name: str) -> str:
    """Return the name of the transposed constant, made where it is missing."""
    flipped = f"{name}.T"
    if flipped not in constants:
        old = constants[name]
        constants[flipped] = replace(old, array=old.array.T.copy())
    return flipped


def _count_readers(graph: Graph) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(graph.outputs, 1)
    for node in _nodes(graph):
        for name in node.inputs:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _nodes(graph: Graph) -> list[GraphNode]:
    listed: list[GraphNode] = []
    for node in graph.nodes:
        listed.append(node)
        for value in node.attributes.values():
            if isinstance(value, Graph):
                listed.extend(_nodes(value))
    return listed


def _sole_additions(graph: Graph, readers: Mapping[str, int]) -> dict[str, GraphNode]:
    """Return the Add that alone reads a value, by the value's name."""
    return {
        name: node
        for node in graph.nodes
        if node.operator == "Add" and len(node.inputs) == 2
        for name in node.inputs
        if readers.get(name) == 1
    }


def _bias(
    addition: GraphNode | None, product: str, constants: Mapping[str, Constant], width: int
) -> str:
    """Return the name of the constant vector that is added to a product, "" where there is none."""
    if addition is None:
        return ""
    other = next((name for name in addition.inputs if name != product), "")
    constant = constants.get(other)
    return other if constant is not None and constant.array.shape == (width,) else ""
