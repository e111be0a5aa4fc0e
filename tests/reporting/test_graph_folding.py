"""The picture of a network: what repeats is folded, nothing is lost, and it stays readable."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import networkx as nx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressc.coupling.graph import couple
from compressc.frontend.tracing import capture
from compressc.models.registry import build
from compressc.pictures import ArchitecturePicture
from compressc.reporting.architecture_plots import draw_architecture
from compressc.reporting.graph_file import write_graph
from compressc.reporting.graph_folding import MOST_BOXES, fold_graph


class Deep(nn.Module):
    """Residual blocks of two widths, alike within each."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(8, 5)
        self.narrow = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(blocks))
        self.widen = nn.Conv2d(4, 8, 1)
        self.wide = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for layer in self.narrow:
            x = F.relu(x + layer(x))
        x = F.relu(self.widen(x))
        for layer in self.wide:
            x = F.relu(x + layer(x))
        return self.head(x.mean((2, 3)))


def fold(module: nn.Module, *shape: int) -> ArchitecturePicture:
    return fold_graph(couple(capture(module.eval(), (torch.randn(2, *shape),))).graph)


def test_of_blocks_alike_the_first_is_drawn_and_the_others_are_counted() -> None:
    picture = fold(Deep(6), 3, 8, 8)
    labels = [label for _, label in picture.nodes]
    assert "narrow.1 to narrow.5: 5 more alike" in labels
    assert "wide.1 to wide.5: 5 more alike" in labels
    assert "narrow.0, 4 to 4" in labels
    assert "widen, 4 to 8" in labels
    assert picture.title.startswith("15 layers")
    assert len(labels) < 16


def test_sixty_blocks_are_as_readable_as_six() -> None:
    few, many = fold(Deep(6), 3, 8, 8), fold(Deep(30), 3, 8, 8)
    assert len(many.nodes) == len(few.nodes)
    assert many.edges[0] == few.edges[0]
    assert many.title.startswith("63 layers")


@pytest.mark.parametrize(
    ("name", "side"),
    [
        pytest.param("densenet121", 64, marks=pytest.mark.slow),
        ("googlenet_cifar", 32),
        ("vgg16_cifar", 32),
    ],
)
def test_every_network_stays_readable_and_has_no_cycle(name: str, side: int) -> None:
    picture = fold(build(name), 3, side, side)
    assert 5 <= len(picture.nodes) <= MOST_BOXES
    flow = nx.DiGraph((source, target) for source, target, _ in picture.edges)
    assert nx.is_directed_acyclic_graph(flow)
    assert nx.is_weakly_connected(flow)
    assert set(flow) == {box for box, _ in picture.nodes}


def test_a_short_network_has_a_box_for_each_layer() -> None:
    labels = [label for _, label in fold(build("lenet5"), 1, 28, 28).nodes]
    layers = [label for label in labels if " to " in label]
    assert len(layers) == 4


@pytest.mark.parametrize("downwards", [False, True])
def test_arrows_lead_from_box_to_box(downwards: bool) -> None:
    picture = ArchitecturePicture(
        "t", (("a", "a"), ("b", "b"), ("c", "c")), (("a", "b", ""), ("b", "c", ""), ("a", "c", ""))
    )
    plot = draw_architecture(picture, downwards=downwards)
    a, b, c = plot.boxes
    along = [(box.y if downwards else box.x) for box in (a, b, c)]
    assert along == sorted(along)
    assert all(0 < box.x < plot.width and 0 < box.y < plot.height for box in plot.boxes)
    start = plot.arrows[0].path.split(" ")[0].removeprefix("M").split(",")
    expected = (a.x, a.y + a.height / 2) if downwards else (a.x + a.width / 2, a.y)
    assert tuple(map(float, start)) == pytest.approx(expected, abs=0.06)


def test_the_file_is_a_picture_that_programs_can_read(tmp_path: Path) -> None:
    graph = couple(capture(Deep(6).eval(), (torch.randn(2, 3, 8, 8),))).graph
    write_graph(tmp_path / "deps.svg", graph)
    root = ET.parse(tmp_path / "deps.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    texts = [text.text for text in root.iter(f"{space}text")]
    assert "narrow.1 to narrow.5: 5 more alike" in texts
    assert len(list(root.iter(f"{space}rect"))) == len(fold_graph(graph).nodes)
