"""Folding: the dependency graph of a network of any size as a picture that can be read.

What repeats is folded first, because it says least: of residual blocks that are alike one after the
other only the first is drawn. What follows a layer goes into its box. Where more boxes are left
than a reader takes in, every chain becomes one, and then the parts of every module, the innermost
modules first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import networkx as nx

from compressc.pictures import ArchitecturePicture
from compressc.reporting.quantities import readable_count

# More boxes than this are folded further.
MOST_BOXES = 60
# Blocks alike in a row, from which on all but the first are folded.
_ALIKE = 3
_SHOWN_OPERATIONS = 3
_LETTERS = 30


def fold_graph(graph: nx.MultiDiGraph) -> ArchitecturePicture:
    """Return the flow of data through a network as boxes and arrows, folded to a readable number.

    Args:
        graph: as :func:`compressc.coupling.dependency_graph.build_dependency_graph` makes it.
    """
    flow = _read_flow(graph)
    attributes: Mapping[str, Mapping[str, Any]] = graph.nodes
    cell_of = {node: node for node in flow}
    labels: dict[str, str] = {}
    for run, region in _alike_blocks(flow, attributes):
        cell = f"fold:{run[0]}"
        cell_of.update(dict.fromkeys(region, cell))
        labels[cell] = f"{run[0]} to {run[-1]}: {len(run)} more alike"
    layers = {node for node in flow if "layer" in attributes[node]}
    # A box for each layer where that is not too many, else one for each chain of them.
    for starts in (layers, set[str]()):
        chains = _chains(_contracted(flow, cell_of), {*labels}, starts)
        if len(set(chains.values())) <= MOST_BOXES:
            break
    cell_of = _compose(cell_of, chains)
    cell_of = _compose(cell_of, _modules(_contracted(flow, cell_of), _members(cell_of), attributes))
    members = _members(cell_of)
    drawn = _contracted(flow, cell_of)
    return ArchitecturePicture(
        f"{len(layers)} layers, {readable_count(graph.graph['macs'])} MACs, "
        f"{readable_count(graph.graph['params'])} params",
        tuple(
            (cell, labels.get(cell) or _label([attributes[node] for node in members[cell]]))
            for cell in drawn
        ),
        tuple((source, target, "") for source, target in drawn.edges),
    )


def _read_flow(graph: nx.MultiDiGraph) -> nx.DiGraph:
    """Return what lies on the way from the inputs to the outputs."""
    flow = nx.DiGraph()
    flow.add_nodes_from(node for node, a in graph.nodes(data=True) if a["kind"] != "group")
    flow.add_edges_from((s, t) for s, t, kind in graph.edges(data="kind") if kind == "data")
    kinds = nx.get_node_attributes(graph, "kind")
    ends = [node for node in flow if kinds[node] == "output"]
    read = set(ends).union(*(nx.ancestors(flow, end) for end in ends))
    return flow.subgraph(read).copy()


def _alike_blocks(
    flow: nx.DiGraph, attributes: Mapping[str, Mapping[str, Any]]
) -> Iterable[tuple[list[str], set[str]]]:
    """Yield names and nodes of all but the first of the blocks that are alike in a row."""
    regions = {
        node: (nx.descendants(flow, a["block_entry"]) & nx.ancestors(flow, node)) | {node}
        for node, a in ((node, attributes[node]) for node in flow)
        if "block" in a and a["block_entry"] in flow
    }
    outermost = [
        node
        for node, region in regions.items()
        if not any(region < other for other in regions.values())
    ]
    looks = {node: _look(flow, regions[node], attributes) for node in outermost}
    run: list[str] = []
    for node in [*outermost, ""]:
        follows = bool(run) and node in looks and looks[node] == looks[run[-1]]
        if follows and _is_next(flow, run[-1], attributes[node]["block_entry"]):
            run.append(node)
            continue
        if len(run) >= _ALIKE:
            between = nx.descendants(flow, run[0]) & nx.ancestors(flow, run[-1])
            yield [str(attributes[end]["block"]) for end in run[1:]], between | {run[-1]}
        run = [node]


def _look(
    flow: nx.DiGraph, region: set[str], attributes: Mapping[str, Mapping[str, Any]]
) -> list[tuple[object, ...]]:
    """Return what tells blocks apart: operations, sizes and costs, in graph order."""
    told = ("operation", "shape", "macs", "in_channels", "out_channels")
    return [tuple(attributes[node].get(key) for key in told) for node in flow if node in region]


def _is_next(flow: nx.DiGraph, end: str, entry: str) -> bool:
    """Return whether a block begins where another ends, or behind one more operation."""
    return entry == end or list(flow.predecessors(entry)) == [end]


def _chains(folded: nx.DiGraph, alone: set[str], starts: set[str]) -> dict[str, str]:
    """Return the first cell of the chain that each cell is part of.

    Args:
        folded: the flow between cells.
        alone: cells that stay by themselves.
        starts: cells with which a chain begins anew.
    """
    links = nx.DiGraph()
    links.add_nodes_from(folded)
    links.add_edges_from(
        (source, target)
        for source, target in folded.edges
        if folded.out_degree(source) == 1
        and folded.in_degree(target) == 1
        and target not in starts
        and not {source, target} & alone
    )
    place = {cell: number for number, cell in enumerate(nx.topological_sort(folded))}
    cells: dict[str, str] = {}
    for chain in nx.weakly_connected_components(links):
        cells.update(dict.fromkeys(chain, min(chain, key=place.__getitem__)))
    return cells


def _modules(
    folded: nx.DiGraph,
    members: Mapping[str, Sequence[str]],
    attributes: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """Return the cells of a graph with too many of them, those of one module joined.

    Only cells beside each other in a topological order are joined, so no cycle can arise.
    """
    order = list(nx.topological_sort(folded))
    paths: list[list[str]] = []
    for cell in order:
        names = [
            str(attributes[node]["layer"]) for node in members[cell] if "layer" in attributes[node]
        ]
        # What has no layer belongs to what came before.
        paths.append(names[0].split(".") if names else paths[-1] if paths else [""])
    for depth in range(max(map(len, paths), default=0), -1, -1):
        firsts: list[str] = []
        for place, cell in enumerate(order):
            joined = (
                place
                and paths[place][:depth] == paths[place - 1][:depth]
                and depth < max(map(len, paths))
            )
            firsts.append(firsts[-1] if joined else cell)
        if len(set(firsts)) <= MOST_BOXES:
            return dict(zip(order, firsts, strict=True))
    return {cell: cell for cell in order}


def _contracted(flow: nx.DiGraph, cell_of: Mapping[str, str]) -> nx.DiGraph:
    """Return the flow between cells."""
    folded = nx.relabel_nodes(flow, cell_of)
    folded.remove_edges_from(list(nx.selfloop_edges(folded)))
    return folded


def _compose(cell_of: Mapping[str, str], outer: Mapping[str, str]) -> dict[str, str]:
    return {node: outer[cell] for node, cell in cell_of.items()}


def _members(cell_of: Mapping[str, str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for node, cell in cell_of.items():
        members.setdefault(cell, []).append(node)
    return members


def _label(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what a box says: its layers, or else what it does."""
    layers = [row for row in rows if "layer" in row]
    if not layers:
        kinds = [row for row in rows if row["kind"] in ("input", "output")]
        named = [str(row["operation"]).rpartition(".")[2] for row in rows]
        return ", ".join(row["kind"] for row in kinds) or _short(named)
    first, last = layers[0], layers[-1]
    widths = f"{first['in_channels'] or '-'} to {last['out_channels'] or '-'}"
    if len(layers) == 1:
        return f"{_cut(first['layer'])}, {widths}"
    return f"{_cut(first['layer'])} ... {_cut(last['layer'])}: {len(layers)} layers, {widths}"


def _short(operations: Sequence[str]) -> str:
    shown = ", ".join(operations[:_SHOWN_OPERATIONS])
    more = len(operations) - _SHOWN_OPERATIONS
    return f"{shown} + {more}" if more > 0 else shown


def _cut(name: str) -> str:
    return name if len(name) <= _LETTERS else f"...{name[-_LETTERS:]}"
