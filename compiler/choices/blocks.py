"""Blocks: parts of a network that may be left out whole, because a value passes beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import networkx as nx
import torch
from torch import Tensor, fx

from compressc.layer_names import owner_of

aten = torch.ops.aten

_SUMS = (aten.add.Tensor, aten.add_.Tensor)
_LOOKUPS = (aten.embedding.default,)
# Everything that reads the inputs before a layer has touched them; no node is called so.
_START = ""

# What a decision about a block may be.
LEFT_OUT, STAYS = 0, 1


@dataclass(frozen=True)
class Block:
    """A residual block: a sum, and which of the two values may do without the other.

    Attributes:
        name: of the decision; candidate 0 leaves the block out, candidate 1 is the network as it
            is.
        sum: the node at which it ends.
        entry: the node from which everything in it is computed.
        skip: the operand of the sum that carries the value alone.
        branch: the other operand.
        nodes: those that nothing but the branch needs, in graph order.
        layers: that own the parameters which these nodes read, in graph order.
        pinned: why it has to stay, or None.
    """

    name: str
    sum: str
    entry: str
    skip: str
    branch: str
    nodes: tuple[str, ...]
    layers: tuple[str, ...]
    pinned: str | None = None


@dataclass(frozen=True, eq=False)
class _Flow:
    """What computes what, from the first layers on.

    Attributes:
        graph: nodes by name; constants, and values that no layer has touched, are left out.
        before: the node that everything on the way to a node passes last (its dominator).
        behind: the node that everything on the way from a node to the outputs passes first.
        macs: of the nodes that multiply, by name.
        position: of every node in graph order.
    """

    graph: nx.DiGraph
    before: Mapping[str, str]
    behind: Mapping[str, str]
    macs: Mapping[str, float]
    position: Mapping[str, int] = field(default_factory=dict)

    def between(self, entry: str, end: str) -> set[str]:
        """Return the nodes that lead from an entry to an end, the end included."""
        if end == entry:
            return set()
        behind = nx.restricted_view(self.graph, [entry], [])
        reached: set[str] = nx.ancestors(behind, end)
        return reached | {end}

    def layers_in(self, nodes: Collection[str]) -> list[str]:
        """Return the nodes that multiply, in graph order."""
        return sorted(self.macs.keys() & set(nodes), key=self.position.__getitem__)


def find_blocks(graph: fx.Graph, macs: Mapping[str, float]) -> tuple[Block, ...]:
    """Return the residual blocks of a captured graph, in graph order.

    A block ends at a sum of two values of one shape. It has one entry and one exit: everything in
    it is computed from the value that dominates the sum, and whatever leaves that value passes the
    sum (its post-dominator). One side of the sum, the skip, can carry the value alone: it has at
    most one layer (a projection; an identity or a padding has none). The other side, the branch,
    has layers of its own, and leaving it out takes these away. Blocks may lie inside others.

    Values that no layer has touched are no entries, so that a mask that all blocks read does not
    hide them.

    Args:
        graph: of a captured program.
        macs: multiply-accumulates of the nodes that multiply, by name.

    Source:
        Cooper, Harvey and Kennedy, A Simple, Fast Dominance Algorithm, 2001 (as networkx has it).
        Veit et al., Residual Networks Behave Like Ensembles of Relatively Shallow Networks,
        NeurIPS 2016 (blocks that may be left out).
    """
    flow = _read_flow(graph, macs)
    owners = _read_owners(graph)
    blocks = []
    for node in graph.nodes:
        sides = _sides(node, flow)
        if sides is not None:
            block = _read_block(node, sides, flow, owners)
            if block is not None:
                blocks.append(block)
    return _named_apart(blocks)


def _read_flow(graph: fx.Graph, macs: Mapping[str, float]) -> _Flow:
    flow = nx.DiGraph()
    flow.add_node(_START)
    for node in graph.nodes:
        sources = [source.name for source in node.all_input_nodes if source.name in flow]
        if sources:
            flow.add_edges_from((source, node.name) for source in sources)
        elif node.name in macs or node.target in _LOOKUPS:
            flow.add_edge(_START, node.name)
    end = graph.output_node().name
    behind = nx.immediate_dominators(flow.reverse(copy=False), end) if end in flow else {}
    position = {node.name: place for place, node in enumerate(graph.nodes)}
    return _Flow(flow, nx.immediate_dominators(flow, _START), behind, macs, position)


def _sides(node: fx.Node, flow: _Flow) -> tuple[str, str] | None:
    """Return the two values that a sum adds, if it adds two computed ones of one shape."""
    if node.target not in _SUMS or node.kwargs or len(node.args) != 2:
        return None
    left, right = node.args
    if not (isinstance(left, fx.Node) and isinstance(right, fx.Node)) or left is right:
        return None
    values = [operand.meta.get("val") for operand in (left, right)]
    if not all(isinstance(value, Tensor) for value in values):
        return None
    kinds = [([str(size) for size in value.shape], value.dtype) for value in values]  # type: ignore[union-attr]
    computed = left.name in flow.graph and right.name in flow.graph
    return (left.name, right.name) if computed and kinds[0] == kinds[1] else None


def _read_block(
    node: fx.Node, sides: tuple[str, str], flow: _Flow, owners: Mapping[str, Sequence[str]]
) -> Block | None:
    entry = flow.before.get(node.name, _START)
    if entry == _START or flow.behind.get(entry) != node.name:
        return None
    reached = {side: flow.between(entry, side) for side in sides}

    def weight(side: str) -> tuple[int, float]:
        layers = flow.layers_in(reached[side])
        return len(layers), sum(flow.macs[layer] for layer in layers)

    skip, branch = sorted(sides, key=weight)
    own = reached[branch] - reached[skip]
    layers = flow.layers_in(own)
    if weight(skip)[0] > 1 or not layers:
        return None
    nodes = tuple(sorted(own, key=flow.position.__getitem__))
    name = _name([owner for layer in layers for owner in owners[layer]] or layers)
    read = dict.fromkeys(owner for inner in nodes for owner in owners[inner])
    return Block(name, node.name, entry, skip, branch, nodes, tuple(read))


def _read_owners(graph: fx.Graph) -> dict[str, tuple[str, ...]]:
    """Return the layers whose parameters each node reads, also through what constants make of them.

    Returns:
        By the node's name; of a parameter, and of what is computed from parameters alone, the
        layers that own these.
    """
    owners: dict[str, tuple[str, ...]] = {}
    constants: set[str] = set()
    for node in graph.nodes:
        if node.op == "get_attr":
            constants.add(node.name)
            owners[node.name] = (owner_of(str(node.target)),)
            continue
        sources = [source.name for source in node.all_input_nodes]
        if sources and node.op == "call_function" and constants.issuperset(sources):
            constants.add(node.name)
        read = (owner for name in sources if name in constants for owner in owners[name])
        owners[node.name] = tuple(dict.fromkeys(read))
    return owners


def _name(layers: Sequence[str]) -> str:
    """Return what the names of layers have in common, or the first and the last of them."""
    parts = [layer.split(".") for layer in layers]
    common = []
    for words in zip(*parts, strict=False):
        if len(set(words)) > 1:
            break
        common.append(words[0])
    return ".".join(common) or f"{layers[0]}..{layers[-1]}"


def _named_apart(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Return the blocks with the sum added to names that several have."""
    counts = Counter(block.name for block in blocks)
    return tuple(
        replace(block, name=f"{block.name}:{block.sum}") if counts[block.name] > 1 else block
        for block in blocks
    )
