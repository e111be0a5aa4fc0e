"""The dependency graph as networkx knows graphs: values, layers and channel groups, with edges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import networkx as nx
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from compressc.channels.shapes import hinted_shape, value_of
from compressc.plan import Plan

if TYPE_CHECKING:
    from compressc.coupling.graph import Coupling
    from compressc.coupling.groups import ChannelGroup

# Nodes of groups cannot be taken for nodes of the captured graph, whose names are identifiers.
GROUP = "group:"


def build_dependency_graph(module: fx.GraphModule, coupling: Coupling) -> nx.MultiDiGraph:
    """Return values, layers and channel groups as nodes, data flow and couplings as edges.

    All attributes are numbers, texts or truth values, so that every format of networkx takes them.

    | node | name | attributes |
    |---|---|---|
    | ``kind="input"``, ``"output"``, ``"value"`` | of the captured graph | operation, shape |
    | ``kind="layer"`` | the same | these, layer, macs, params, in_channels, out_channels |
    | ``kind="group"`` | ``"group:"`` + its name | units, minimum, multiple_of, width_per_unit |

    The sum at which a residual block ends has the block's name (``block``), and the nodes that
    enter it (``block_entry``) and that carry the value when it is left out (``block_skip``).

    Groups, and nodes at which a rule pinned channels, say why (``pinned``). Edges of
    ``kind="data"`` lead from a value to what reads it. Edges of ``kind="coupling"`` lead from a
    layer to a group whose channels it makes (``role="out"``), and from a group to a layer that
    reads them (``role="in"``), with tensor, axis and number of slices: what leaves the one leaves
    the other.

    Args:
        module: the captured graph.
        coupling: what was found about it.
    """
    graph = nx.MultiDiGraph()
    terms, rows = coupling.propagation.records.macs, coupling.layers(Plan())
    row_of = {term.node: row for term, row in zip(terms, rows, strict=True)}
    pins: dict[str, list[str]] = defaultdict(list)
    for pin in coupling.pins:
        pins[pin.node].append(pin.reason)
    readers = _readers(module, coupling.propagation.canonical)
    for node in module.graph.nodes:
        if node.op == "get_attr":
            continue
        attributes: dict[str, Any] = {
            "kind": {"placeholder": "input", "output": "output"}.get(node.op, "value"),
            "operation": _operation(node),
            "shape": _shape(node),
        }
        if node.name in row_of:
            row = row_of[node.name]
            attributes |= {
                "kind": "layer",
                "layer": row.name,
                "operation": row.operation,
                "macs": row.macs,
                "params": row.params,
                "in_channels": row.in_channels,
                "out_channels": row.out_channels,
            }
        if pins[node.name]:
            attributes["pinned"] = "; ".join(dict.fromkeys(pins[node.name]))
        graph.add_node(node.name, **attributes)
        for source in node.all_input_nodes:
            if source.op != "get_attr":
                graph.add_edge(source.name, node.name, kind="data")
    for group in coupling.groups:
        _add_group(graph, group, readers)
    for block in coupling.branches.blocks:
        names = {"block": block.name, "block_entry": block.entry, "block_skip": block.skip}
        graph.nodes[block.sum].update(names)
    cost = coupling.cost(Plan())
    graph.graph.update(macs=cost.macs, params=cost.params, size_bytes=cost.size_bytes)
    return graph


def _add_group(
    graph: nx.MultiDiGraph, group: ChannelGroup, readers: Mapping[str, list[str]]
) -> None:
    name = GROUP + group.name
    graph.add_node(
        name,
        kind="group",
        units=group.size,
        minimum=group.minimum,
        multiple_of=group.multiple_of,
        width_per_unit=group.width_per_unit,
        **({} if group.pinned is None else {"pinned": group.pinned}),
    )
    for member in group.members:
        for node in readers.get(member.tensor, ()):
            ends = (node, name) if member.role == "out" else (name, node)
            graph.add_edge(
                *ends,
                kind="coupling",
                role=member.role,
                tensor=member.tensor,
                axis=member.axis,
                slices=len(member.position),
            )


def _readers(module: fx.GraphModule, canonical: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names of the nodes that read each parameter or buffer, by its first name."""
    readers: dict[str, list[str]] = defaultdict(list)
    for node in module.graph.nodes:
        if node.op == "get_attr":
            target = str(node.target)
            readers[canonical.get(target, target)] += [user.name for user in node.users]
    return readers


def _operation(node: fx.Node) -> str:
    if node.op != "call_function":
        return str(node.op)
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return f"{target.namespace}.{target._opname}"
    return str(getattr(target, "__name__", target))


def _shape(node: fx.Node) -> str:
    values: Iterable[Any] = () if node.op == "output" else pytree.tree_leaves(value_of(node))
    shapes = ["x".join(map(str, hinted_shape(v))) for v in values if isinstance(v, Tensor)]
    return ", ".join(shapes)
