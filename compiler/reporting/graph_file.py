"""The dependency graph as a file: for networkx and other tools, or as a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import networkx as nx

from compressc.errors import OutputError
from compressc.reporting.architecture_plots import draw_architecture
from compressc.reporting.graph_folding import fold_graph
from compressc.reporting.templates import load_template
from compressc.writing import write_text

FORMATS = (".graphml", ".json", ".svg")


def check_graph_name(path: str | Path) -> None:
    """Refuse an ending that stands for no format.

    Raises:
        OutputError: naming those that do.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise OutputError(
            f"{path}: a graph is written as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; name one so"
        )


def write_graph(path: str | Path, graph: nx.MultiDiGraph) -> None:
    """Write a graph in the format of the file's ending.

    ``.graphml`` is read by networkx, Gephi, yEd and Cytoscape, ``.json`` is the node-link form.
    ``.svg`` is a picture of the flow of data, in which what repeats is folded (see
    :func:`compressc.reporting.graph_folding.fold_graph`).

    Raises:
        OutputError: if the ending is unknown or the file cannot be written.
    """
    check_graph_name(path)
    ending = Path(path).suffix.lower()
    if ending == ".svg":
        plot = draw_architecture(fold_graph(graph), downwards=True)
        write_text(path, load_template("architecture_svg.html.j2").render(plot=plot))
    elif ending == ".graphml":
        stream = io.BytesIO()
        nx.write_graphml(graph, stream, named_key_ids=True)
        write_text(path, stream.getvalue().decode())
    else:
        write_text(path, json.dumps(nx.node_link_data(graph, edges="edges"), indent=1))
