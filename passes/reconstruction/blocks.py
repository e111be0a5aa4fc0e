"""Blocks: a graph cut where a single value passes, into pieces that can be run on their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
from torch import fx

from compressc.graphs.data_flow import build_data_flow
from compressc.passes.reconstruction.patches import LAYERS
from compressc.passes.reconstruction.staged_execution import find_constants


@dataclass(frozen=True)
class Block:
    """Consecutive nodes of a graph, by name.

    Attributes:
        entries: what it reads: the value of the block in front, or the inputs of the graph.
        nodes: in graph order.
        end: whose value it computes; None for whatever the graph returns.
    """

    entries: tuple[str, ...]
    nodes: tuple[str, ...]
    end: str | None


def find_blocks(graph: fx.Graph, least_layers: int) -> list[Block]:
    """Return the blocks of a graph in order; a residual block is never cut.

    A cut lies where nothing but one value is read further on, as late as the next layer allows.

    Args:
        graph: any graph without in-place operations on what a later block reads.
        least_layers: convolutions and linear layers that a block has at least, but for the last.
    """
    constants = find_constants(graph)
    nodes = [node for node in graph.nodes if node not in constants]
    last_read = {source: at for at, node in enumerate(nodes) for source in node.all_input_nodes}
    entries = tuple(node.name for node in nodes if node.op == "placeholder")
    blocks: list[Block] = []
    open_nodes: list[str] = []
    alive: set[fx.Node] = set()
    layers = 0
    for at, node in enumerate(nodes[:-1]):
        if node.target in LAYERS:
            # The value in front of a layer is the latest one before it.
            if layers >= least_layers and len(alive) == 1 and open_nodes:
                (end,) = alive
                blocks.append(Block(entries, tuple(open_nodes), end.name))
                entries, open_nodes, layers = (end.name,), [], 0
            layers += 1
        if node.op != "placeholder":
            open_nodes.append(node.name)
        alive.add(node)
        alive = {value for value in alive if last_read.get(value, -1) > at}
    blocks.append(Block(entries, tuple(open_nodes), None))
    return blocks


def trace_block(graph: fx.Graph, entries: tuple[str, ...], end: str | None) -> Block:
    """Return the block that leads from some values to another one.

    Args:
        graph: any graph.
        entries: nodes by name, which everything on the way begins with.
        end: the node whose value is computed; None for whatever the graph returns.
    """
    flow = build_data_flow(graph)
    by_name = {node.name: node for node in graph.nodes}
    flow.remove_nodes_from([*find_constants(graph), *(by_name[entry] for entry in entries)])
    last = graph.output_node() if end is None else by_name[end]
    needed = nx.ancestors(flow, last) | ({last} if end is not None else set())
    return Block(entries, tuple(node.name for node in graph.nodes if node in needed), end)


def extract_block(module: fx.GraphModule, block: Block) -> fx.GraphModule:
    """Return a module that computes one block; it shares the tensors of the whole."""
    constants = find_constants(module.graph)
    graph, made = fx.Graph(), dict[fx.Node, fx.Node]()
    by_name = {node.name: node for node in module.graph.nodes}
    for name in block.entries:
        made[by_name[name]] = graph.placeholder(name)

    def copy(node: fx.Node) -> fx.Node:
        if node not in made:
            for source in node.all_input_nodes:
                if source in constants:
                    copy(source)
            made[node] = graph.node_copy(node, made.__getitem__)
        return made[node]

    for name in block.nodes:
        copy(by_name[name])
    value: Any = module.graph.output_node().args[0] if block.end is None else by_name[block.end]
    for source in _nodes_of(value):
        copy(source)
    graph.output(fx.map_arg(value, made.__getitem__))
    return fx.GraphModule(module, graph)


def _nodes_of(value: Any) -> Sequence[fx.Node]:
    nodes: list[fx.Node] = []
    fx.map_arg(value, nodes.append)
    return nodes
