"""Pictures of architectures, as the report draws them: boxes and arrows, laid out by networkx."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def draw_architecture(picture: ArchitecturePicture, *, downwards: bool = False) -> ArchitecturePlot:
    """Return how an architecture is drawn: a column for each depth, from left to right.

    Args:
        picture: what is drawn.
        downwards: whether there is a row for each depth instead, which suits long networks.

    Raises:
        networkx.NetworkXUnfeasible: if its graph has a cycle.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(name for name, _ in picture.nodes)
    graph.add_edges_from((source, target) for source, target, _ in picture.edges)
    generations = list(nx.topological_generations(graph))
    for depth, names in enumerate(generations):
        for name in names:
            graph.nodes[name]["depth"] = depth
    most = max((len(names) for names in generations), default=1)
    labels = dict(picture.nodes)
    widest = max((len(label) for label in labels.values()), default=1) * _LETTER + _PADDING
    column = max(_COLUMN, widest + 40.0)
    # Enough room across that an edge which passes a generation has place beside its boxes.
    step, lane = (1.3 * _ROW, column) if downwards else (column, _ROW)
    along, across = 2 * _MARGIN + step * len(generations), 2 * _MARGIN + lane * (most + 1)
    layout = nx.multipartite_layout(graph, subset_key="depth") if graph else {}
    spread = [float(point[1]) for point in layout.values()]
    places: dict[str, tuple[float, float]] = {}
    for name, point in layout.items():
        forward = _MARGIN + step * (graph.nodes[name]["depth"] + 0.5)
        aside = _place_across(float(point[1]), spread, across, lane)
        places[name] = (aside, forward) if downwards else (forward, aside)
    boxes = tuple(
        Box(x, y, max(40.0, len(label) * _LETTER + _PADDING), _BOX_HEIGHT, label)
        for (x, y), label in ((places[name], label) for name, label in picture.nodes)
    )
    widths = {box.label: box.width for box in boxes}
    arrows = tuple(_arrows(picture, places, widths, labels, graph, downwards))
    width, height = (across, along) if downwards else (along, across)
    return ArchitecturePlot(picture.title, width, height, boxes, arrows)


def _place_across(value: float, spread: Sequence[float], room: float, lane: float) -> float:
    low, high = min(spread), max(spread)
    share = (value - low) / (high - low) if high > low else 0.5
    return _MARGIN + lane + share * (room - 2 * _MARGIN - 2 * lane)


def _arrows(
    picture: ArchitecturePicture,
    places: dict[str, tuple[float, float]],
    widths: dict[str, float],
    labels: dict[str, str],
    graph: nx.DiGraph,
    downwards: bool,
) -> Iterator[Arrow]:
    for number, (source, target, label) in enumerate(picture.edges):
        (x1, y1), (x2, y2) = places[source], places[target]
        skipped = graph.nodes[target]["depth"] - graph.nodes[source]["depth"] - 1
        # An edge that passes other boxes bends around them, to alternating sides.
        bend = (-1 if number % 2 else 1) * min(skipped, 3) * 0.7
        if downwards:
            y1, y2 = y1 + _BOX_HEIGHT / 2, y2 - _BOX_HEIGHT / 2
            middle, aside = (y1 + y2) / 2, bend * _COLUMN
            between = f"{x1 + aside:.1f},{middle:.1f} {x2 + aside:.1f},{middle:.1f}"
            at = ((x1 + x2) / 2 + 0.75 * aside, middle)
        else:
            x1, x2 = x1 + widths[labels[source]] / 2, x2 - widths[labels[target]] / 2
            middle, aside = (x1 + x2) / 2, bend * _ROW
            between = f"{middle:.1f},{y1 + aside:.1f} {middle:.1f},{y2 + aside:.1f}"
            at = (middle, (y1 + y2) / 2 + 0.75 * aside - 4)
        yield Arrow(f"M{x1:.1f},{y1:.1f} C{between} {x2:.1f},{y2:.1f}", label, *at)
