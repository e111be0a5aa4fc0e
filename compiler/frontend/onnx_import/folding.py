"""Folding: what follows from numbers in the file is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from compressc.error_text import quote_error
from compressc.errors import CaptureError, HandOverError
from compressc.frontend.onnx_import.graph import Constant, Graph, GraphNode, walk
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.session import create_session, run_session

# A folded value may be larger than what it is made from, such as a table of positions.
_FREE_ELEMENTS = 2**22
_IR_VERSION = 8
_RANDOM = ("Random", "Bernoulli", "Multinomial", "Dropout")
# How many elements the output of an operator has at most, by its known inputs, where it can be
# larger than all of them together.
_GROWING = ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "Upsample", "OneHot")


def fold_constants(graph: Graph, outer: Mapping[str, Constant] | None = None) -> Graph:
    """Compute every node that reads constants alone; identities go, and branches never taken.

    Given:  nodes of constants, such as Transpose(W); If with a constant condition.
    Result: their outputs as constants, what is made from one initializer remembers it; the nodes of
    the branch that is taken.

    Args:
        graph: the graph; graphs inside its nodes are folded as well.
        outer: constants that a graph inside a node can read from outside.

    Raises:
        HandOverError: if a value would be unreasonably large.
        CaptureError: if one cannot be computed.
    """
    if not _has_initializers(graph):
        graph = _with_learned_nodes(graph)
    return _without_unread(_fold(graph, outer or {}, {}))


def _has_initializers(graph: Graph) -> bool:
    """Return whether a file stores floating-point numbers as initializers, but single ones."""
    inner = (v for n in walk(graph) for v in n.attributes.values() if isinstance(v, Graph))
    return any(
        _may_be_learned(constant.array)
        for part in (graph, *inner)
        for constant in part.constants.values()
    )


def _with_learned_nodes(graph: Graph) -> Graph:
    """Take Constant nodes for weights where a file has no others, as those of Paddle.

    Given:  Constant nodes of floating-point numbers, but single ones.
    Result: initializers of the same names.
    """
    constants = dict(graph.constants)
    nodes: list[GraphNode] = []
    for original in graph.nodes:
        inner = {
            name: _with_learned_nodes(value)
            for name, value in original.attributes.items()
            if isinstance(value, Graph)
        }
        node = replace(original, attributes={**original.attributes, **inner})
        value = node.attributes.get("value")
        if node.operator == "Constant" and isinstance(value, np.ndarray) and _may_be_learned(value):
            constants[node.outputs[0]] = Constant(value, learned=True, source=node.outputs[0])
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _may_be_learned(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f" and array.size > 1


def _without_unread(graph: Graph) -> Graph:
    """Drop nodes that nobody reads, and leave out second outputs that nobody reads."""
    read = set(graph.outputs)
    kept: list[GraphNode] = []
    for node in reversed(graph.nodes):
        outputs = tuple(name if name in read else "" for name in node.outputs)
        if not any(outputs):
            continue
        read.update(node.inputs)
        for value in node.attributes.values():
            if isinstance(value, Graph):
                read.update(name for inner in walk(value) for name in inner.inputs)
                read.update(value.outputs)
        kept.append(replace(node, outputs=outputs))
    return replace(graph, nodes=tuple(reversed(kept)))


def _fold(graph: Graph, outer: Mapping[str, Constant], names: Mapping[str, str]) -> Graph:
    constants, renamed = dict(graph.constants), dict(names)
    nodes: list[GraphNode] = []
    fixed = set(graph.outputs)
    for original in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in original.inputs)
        visible = {**outer, **constants}
        inner = {
            name: _fold(value, visible, renamed)
            for name, value in original.attributes.items()
            if isinstance(value, Graph)
        }
        attributes = {**original.attributes, **inner}
        node = replace(original, inputs=inputs, attributes=attributes)
        if node.operator == "Identity" and node.outputs[0] not in fixed:
            renamed[node.outputs[0]] = inputs[0]
            continue
        if node.operator == "If" and inputs[0] in visible:
            taken = bool(visible[inputs[0]].array.reshape(-1)[0])
            branch = _renamed(
                inner["then_branch" if taken else "else_branch"],
                node.name,
                {*visible, *graph.inputs, *(name for n in nodes for name in n.outputs)},
            )
            constants.update(branch.constants)
            nodes.extend(branch.nodes)
            for name, result in zip(node.outputs, branch.outputs, strict=True):
                if name in fixed:
                    nodes.append(_hand_on(node, result, name))
                else:
                    renamed[name] = result
            continue
        if not _is_constant(node, visible):
            nodes.append(node)
            continue
        given = [visible[name] for name in inputs if name]
        arrays = {name: visible[name].array for name in inputs if name}
        for name, array in zip(node.outputs, evaluate_node(node, arrays), strict=True):
            sources = {constant.source for constant in given if constant.learned}
            source = sources.pop() if len(sources) == 1 else ""
            learned = any(constant.learned for constant in given)
            constants[name] = Constant(array, learned, source)
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return Graph(tuple(nodes), graph.inputs, outputs, constants)


def _renamed(branch: Graph, place: str, taken: set[str]) -> Graph:
    """Return a branch whose values are called after its place, as nothing else is.

    Later branches use the same names for other values, and read these.
    """
    own = [*branch.constants, *(name for node in branch.nodes for name in node.outputs if name)]
    while any(f"{place}/{name}" in taken for name in own):
        place += "_"
    names = {name: f"{place}/{name}" for name in own}
    nodes = tuple(_with_names(node, names) for node in branch.nodes)
    return Graph(
        nodes,
        branch.inputs,
        tuple(names.get(name, name) for name in branch.outputs),
        {names.get(name, name): constant for name, constant in branch.constants.items()},
    )


def _with_names(node: GraphNode, names: Mapping[str, str]) -> GraphNode:
    """Return a node, and the graphs inside it, that read and write other names."""
    attributes = {
        key: replace(
            value,
            nodes=tuple(_with_names(inner, names) for inner in value.nodes),
            outputs=tuple(names.get(name, name) for name in value.outputs),
        )
        if isinstance(value, Graph)
        else value
        for key, value in node.attributes.items()
    }
    inputs = tuple(names.get(name, name) for name in node.inputs)
    outputs = tuple(names.get(name, name) for name in node.outputs)
    return replace(node, inputs=inputs, outputs=outputs, attributes=attributes)


def _hand_on(node: GraphNode, value: str, output: str) -> GraphNode:
    """Return the node that gives a value the name of the graph's output."""
    proto = helper.make_node("Identity", [value], [output], node.name)
    return replace(
        node,
        operator="Identity",
        inputs=(value,),
        outputs=(output,),
        attributes={},
        proto=proto,
    )


def evaluate_node(node: GraphNode, arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Compute the outputs of one node by ONNX's own definition, or in ONNX Runtime.

    Raises:
        HandOverError: if they would be unreasonably large.
        CaptureError: if neither knows the node.
    """
    _check_growth(node, [arrays[name] for name in node.inputs if name in arrays])
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), list(array.shape)
        )
        for name, array in arrays.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.outputs if name]
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.input[:], proto.output[:]
    proto.input.extend(node.inputs)
    proto.output.extend(node.outputs)
    graph = helper.make_graph([proto], "node", inputs, outputs)
    opset = helper.make_opsetid(node.proto.domain, node.version)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
    try:
        results = ReferenceEvaluator(model).run(None, dict(arrays))
    except Exception:  # noqa: BLE001 - the definition of some operators fails on valid inputs
        try:
            session = create_session(model.SerializeToString(), "ONNX Runtime", optimize=False)
            results = run_session(session, arrays, "ONNX Runtime")
        except RuntimeFailure as error:
            raise CaptureError(
                f"{node} cannot be computed ahead ({quote_error(error)}); simplify the file "
                "(onnxsim), or hand over the PyTorch model"
            ) from error
    return [np.asarray(result) for result in results]


def _is_constant(node: GraphNode, constants: Mapping[str, Constant]) -> bool:
    if node.operator.startswith(_RANDOM) or ":" in node.operator:
        return False
    if any(isinstance(value, Graph) for value in node.attributes.values()):
        return False
    return all(name in constants for name in node.inputs if name)


def _check_growth(node: GraphNode, arrays: list[NDArray[Any]]) -> None:
    if node.operator not in _GROWING:
        return
    allowed = max(_FREE_ELEMENTS, 16 * sum(array.size for array in arrays))
    if _count_elements(node, arrays) > allowed:
        raise HandOverError(f"{node} makes a value of an unreasonable size; check the file")


def _count_elements(node: GraphNode, arrays: list[NDArray[Any]]) -> int:
    """Return how many elements the output of a growing operator may have."""
    if node.operator == "ConstantOfShape":
        return _product(arrays[0])
    if node.operator == "Range":
        start, limit, step = (float(array.reshape(-1)[0]) for array in arrays)
        return int(abs((limit - start) / step)) + 1 if step else 0
    if node.operator == "Expand":
        return max(_product(arrays[1]), arrays[0].size) * max(1, arrays[0].size)
    if node.operator == "Tile":
        return arrays[0].size * _product(arrays[1])
    if node.operator == "OneHot":
        return arrays[0].size * int(arrays[1].reshape(-1)[0])
    if node.operator == "Pad":
        pads = node.attributes.get("pads") if len(arrays) < 2 else arrays[1].reshape(-1).tolist()
        rank = arrays[0].ndim
        sides = [abs(pads[i]) + abs(pads[i + rank]) for i in range(rank)] if pads else []
        return _product(np.array(arrays[0].shape, dtype=object) + np.array(sides, dtype=object))
    # Resize and Upsample of constants: by sizes or factors, whichever stands there.
    numbers = [float(n) for array in arrays[1:] for n in array.reshape(-1)]
    total = float(arrays[0].size)
    for number in numbers:
        total *= max(1.0, abs(number))
    return int(min(total, 2.0**62))


def _product(numbers: NDArray[Any]) -> int:
    total = 1
    for number in numbers.reshape(-1):
        total *= int(number)
    return total
