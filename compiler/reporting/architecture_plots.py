"""Pictures of architectures, as the report draws them: boxes and arrows, laid out by networkx."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx

from compressc.pictures import ArchitecturePicture

_COLUMN, _ROW, _BOX_HEIGHT, _MARGIN = 150.0, 46.0, 26.0, 12.0
_LETTER = 6.4
_PADDING = 16.0


@dataclass(frozen=True)
class Box:
    """A node in the picture: its centre, size and label."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Arrow:
    """An edge in the picture, as the path that SVG draws, and its label with its place."""

    path: str
    label: str
    x: float
    y: float


@dataclass(frozen=True)
class ArchitecturePlot:
    """An architecture in coordinates."""

    title: str
    width: float
    height: float
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def draw_architecture(picture: ArchitecturePicture) -> ArchitecturePlot:
    """Return how an architecture is drawn: from left to right, a column for each depth.

    Raises:
        networkx.NetworkXUnfeasible: if its graph has a cycle.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(name for name, _ in picture.nodes)
    graph.add_edges_from((source, target) for source, target, _ in picture.edges)
    columns = list(nx.topological_generations(graph))
    for depth, names in enumerate(columns):
        for name in names:
            graph.nodes[name]["depth"] = depth
    rows = max((len(names) for names in columns), default=1)
    # Enough height that an edge which passes a column has room beside its boxes.
    height = 2 * _MARGIN + _ROW * (rows + 1)
    labels = dict(picture.nodes)
    widest = max((len(label) for label in labels.values()), default=1) * _LETTER + _PADDING
    column = max(_COLUMN, widest + 40.0)
    width = 2 * _MARGIN + column * len(columns)
    layout = nx.multipartite_layout(graph, subset_key="depth") if graph else {}
    places = {
        name: (
            _MARGIN + column * (graph.nodes[name]["depth"] + 0.5),
            _vertical(float(point[1]), layout, height),
        )
        for name, point in layout.items()
    }
    boxes = tuple(
        Box(*places[name], max(40.0, len(label) * _LETTER + _PADDING), _BOX_HEIGHT, label)
        for name, label in picture.nodes
    )
    arrows = tuple(_arrows(picture, places, {b.label: b.width for b in boxes}, labels, graph))
    return ArchitecturePlot(picture.title, width, height, boxes, arrows)


def _vertical(value: float, layout: dict[str, tuple[float, float]], height: float) -> float:
    values = [float(point[1]) for point in layout.values()]
    low, high = min(values), max(values)
    share = (value - low) / (high - low) if high > low else 0.5
    return _MARGIN + _ROW + share * (height - 2 * _MARGIN - 2 * _ROW)


def _arrows(
    picture: ArchitecturePicture,
    places: dict[str, tuple[float, float]],
    widths: dict[str, float],
    labels: dict[str, str],
    graph: nx.DiGraph,
) -> Iterator[Arrow]:
    for number, (source, target, label) in enumerate(picture.edges):
        (x1, y1), (x2, y2) = places[source], places[target]
        x1 += widths[labels[source]] / 2
        x2 -= widths[labels[target]] / 2
        skipped = graph.nodes[target]["depth"] - graph.nodes[source]["depth"] - 1
        # An edge that passes columns bends around their boxes, to alternating sides.
        bend = (-1 if number % 2 else 1) * min(skipped, 3) * _ROW * 0.7
        middle = (x1 + x2) / 2
        path = (
            f"M{x1:.1f},{y1:.1f} C{middle:.1f},{y1 + bend:.1f} "
            f"{middle:.1f},{y2 + bend:.1f} {x2:.1f},{y2:.1f}"
        )
        yield Arrow(path, label, middle, (y1 + y2) / 2 + 0.75 * bend - 4)
