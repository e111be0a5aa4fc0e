"""The ONNX graph as plain frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from compressc.error_text import quote_error
from compressc.errors import HandOverError

_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class GraphNode:
    """One node.

    Attributes:
        name: as in the file; made from an output's name where the file gives none.
        operator: the operator; ``domain:operator`` outside the standard.
        version: of the operator set it is from.
        inputs, outputs: names of values, "" for what is left out.
        attributes: by name, as Python values, arrays and graphs.
        proto: the node as it stands in the file.
    """

    name: str
    operator: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: onnx.NodeProto

    def __str__(self) -> str:
        """Name the node as errors do: its name and operator, and the domain of custom ones."""
        domain, _, operator = self.operator.rpartition(":")
        return f"node '{self.name}' ({operator}" + (f", domain {domain})" if domain else ")")


@dataclass(frozen=True, eq=False)
class Constant:
    """Numbers that stand in the file, or follow from such.

    Attributes:
        array: the numbers.
        learned: whether they are, or come from, an initializer and not a Constant node.
        source: the initializer that they come from, where there is one alone.
    """

    array: NDArray[Any]
    learned: bool
    source: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in the order of the file, with what goes in and out."""

    nodes: tuple[GraphNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Constant] = field(default_factory=dict)


def read_graph(graph: onnx.GraphProto, versions: Mapping[str, int]) -> Graph:
    """Return a graph as plain values.

    Args:
        graph: whose initializers hold their data and were checked.
        versions: of each operator set by domain.

    Raises:
        HandOverError: if an attribute cannot be read.
    """
    constants = {
        tensor.name: Constant(read_tensor(tensor), learned=True, source=tensor.name)
        for tensor in graph.initializer
    }
    return Graph(
        nodes=tuple(_read_node(node, versions) for node in graph.node),
        inputs=tuple(value.name for value in graph.input if value.name not in constants),
        outputs=tuple(value.name for value in graph.output),
        constants=constants,
    )


def read_tensor(tensor: onnx.TensorProto) -> NDArray[Any]:
    """Return the numbers of a stored tensor.

    Raises:
        HandOverError: if its data do not fit its shape.
    """
    try:
        array: NDArray[Any] = numpy_helper.to_array(tensor)
    except Exception as error:
        raise HandOverError(
            f"initializer '{tensor.name}' cannot be read ({quote_error(error)}); export it again"
        ) from error
    return array


def walk(graph: Graph) -> Iterator[GraphNode]:
    """Yield the nodes of a graph and of the graphs inside it."""
    for node in graph.nodes:
        yield node
        for value in node.attributes.values():
            if isinstance(value, Graph):
                yield from walk(value)


def _read_node(node: onnx.NodeProto, versions: Mapping[str, int]) -> GraphNode:
    domain = "" if node.domain in _STANDARD else node.domain
    return GraphNode(
        name=node.name or next(iter(node.output), "") or node.op_type,
        operator=f"{domain}:{node.op_type}" if domain else node.op_type,
        version=versions.get(domain, 1),
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={a.name: _read_attribute(a, node, versions) for a in node.attribute},
        proto=node,
    )


def _read_attribute(
    attribute: onnx.AttributeProto, node: onnx.NodeProto, versions: Mapping[str, int]
) -> Any:
    try:
        value = helper.get_attribute_value(attribute)
    except ValueError as error:
        raise HandOverError(
            f"attribute '{attribute.name}' of node '{node.name}' cannot be read "
            f"({quote_error(error)}); export it again"
        ) from error
    if isinstance(value, onnx.GraphProto):
        return read_graph(value, versions)
    if isinstance(value, onnx.TensorProto):
        return read_tensor(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (int, float, str)):
        return value
    return [e.decode("utf-8", errors="replace") if isinstance(e, bytes) else e for e in value]
