"""The dependency graph as a file: for networkx and other tools, or as a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import networkx as nx

from compressc.errors import OutputError
from compressc.writing import write_text

FORMATS = (".graphml", ".json")


def check_graph_name(path: str | Path) -> None:
    """Refuse an ending that stands for no format.

    Raises:
        OutputError: naming those that do.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise OutputError(f"{path}: a graph is written as {' or '.join(FORMATS)}; name one so")


def write_graph(path: str | Path, graph: nx.MultiDiGraph) -> None:
    """Write a graph in the format of the file's ending.

    ``.graphml`` is read by networkx, Gephi, yEd and Cytoscape, ``.json`` is the node-link form.

    Raises:
        OutputError: if the ending is unknown or the file cannot be written.
    """
    check_graph_name(path)
    if Path(path).suffix.lower() == ".graphml":
        stream = io.BytesIO()
        nx.write_graphml(graph, stream, named_key_ids=True)
        write_text(path, stream.getvalue().decode())
    else:
        write_text(path, json.dumps(nx.node_link_data(graph, edges="edges"), indent=1))
