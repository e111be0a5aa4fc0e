"""Data flow: a captured graph as networkx knows graphs."""

from __future__ import annotations

import networkx as nx
from torch import fx


def build_data_flow(graph: fx.Graph) -> nx.DiGraph:
    """Return the nodes of a graph, in graph order, with an edge from each value to what reads it.

    Args:
        graph: any; its nodes are those of the result, parameters and the output included.
    """
    flow = nx.DiGraph()
    flow.add_nodes_from(graph.nodes)
    flow.add_edges_from((source, node) for node in graph.nodes for source in node.all_input_nodes)
    return flow
