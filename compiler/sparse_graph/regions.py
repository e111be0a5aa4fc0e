"""Which nodes of a graph become one node of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx

from compressc.sparse_graph.graph_view import GraphView, is_plain
from compressc.sparse_graph.node_reading import Reading, UnreadError, read_node
from compressc.sparse_graph.plan_numbers import Kind


@dataclass(frozen=True)
class Region:
    """Nodes that run together: no way leads out of them and back.

    Attributes:
        readings: what they do, in order.
        inputs: values that come from outside, weights left out.
        outputs: values that are read outside.
    """

    readings: tuple[Reading, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_graph(view: GraphView) -> tuple[dict[str, Reading], dict[str, str]]:
    """Return what the engine can run, by the value made, and why it cannot run the rest."""
    readings: dict[str, Reading] = {}
    reasons: dict[str, str] = {}
    for node in view.model.graph.node:
        if is_plain(node, "Constant"):
            continue
        try:
            readings[node.output[0]] = read_node(node, view)
        except UnreadError as problem:
            reasons[node.name or node.output[0]] = str(problem)
    return readings, reasons


def find_regions(view: GraphView, readings: dict[str, Reading]) -> list[Region]:
    """Return the largest regions; those without a convolution are left to ONNX Runtime.

    Nodes get the number of changes between runnable and not on the longest way to them. Nodes of
    one number that are joined by a value are a region: a way out of it and back would have raised
    the number.
    """
    levels: dict[str, int] = {}
    for node in view.model.graph.node:
        runs = node.output[0] in readings
        level = 1 if runs else 0
        for name in node.input:
            maker = view.makers.get(name)
            if maker is not None and name in levels:
                same = (maker.output[0] in readings) == runs
                level = max(level, levels[name] + (0 if same else 1))
        levels.update(dict.fromkeys(node.output, level))
    groups = _joined(view, readings, levels)
    regions = [_region(view, group) for group in groups]
    return [r for r in regions if any(x.kind is Kind.CONVOLUTION for x in r.readings)]


def _joined(
    view: GraphView, readings: dict[str, Reading], levels: dict[str, int]
) -> Iterator[list[Reading]]:
    """Yield runnable readings of one level that are connected, in the order of the graph."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(readings)
    for name, reading in readings.items():
        # By what the node reads: a product with a gate is read as one activation of its value.
        sources = (source for source in reading.node.input if source in readings)
        graph.add_edges_from((s, name) for s in sources if levels[s] == levels[name])
    positions = {node.output[0]: k for k, node in enumerate(view.model.graph.node)}
    for names in nx.connected_components(graph):
        yield [readings[name] for name in sorted(names, key=positions.__getitem__)]


def _region(view: GraphView, readings: list[Reading]) -> Region:
    made = {reading.output for reading in readings}
    inputs = dict.fromkeys(
        name for reading in readings for name in reading.inputs if name not in made
    )
    outputs = [
        reading.output
        for reading in readings
        if reading.output in view.outputs
        or any(reader.output[0] not in made for reader in view.readers.get(reading.output, ()))
    ]
    return Region(tuple(readings), tuple(inputs), tuple(outputs))
