"""The space of DARTS: cells in which every node may read every value before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressc.choices.branches import Choice
from compressc.choices.operation import choose
from compressc.passes.scas.spaces.blocks import Zero, average_pool, max_pool, separable
from compressc.passes.scas.spaces.cells import CellSpace
from compressc.pictures import ArchitecturePicture

_LABELS = (
    "none",
    "identity",
    "max pool",
    "average pool",
    "separable 3x3",
    "separable 5x5",
    "dilated 3x3",
    "dilated 5x5",
)
# Of what a node reads, so many stay.
_INPUTS = 2


class Darts(CellSpace):
    """Cells whose edges are mixtures of eight operations; two edges of each node stay.

    Source:
        Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, sections 2.1 and 2.4.

    Deviations:
        As :class:`compressc.passes.scas.spaces.cells.CellNet` says. A separable convolution is
        applied once, not twice.
    """

    name: ClassVar[str] = "darts"
    controller: ClassVar[str] = "alternation"

    def make_nodes(self, channels: int, nodes: int, prefix: str) -> nn.Module:
        """Return what is in a cell."""
        return _Nodes(channels, nodes, prefix)

    def settle(
        self, choices: Sequence[Choice], strengths: Mapping[str, Sequence[float]]
    ) -> dict[str, int]:
        """Return the strongest operation of the two strongest edges of each node.

        An edge is as strong as its strongest operation, "none" aside (DARTS, section 2.4).
        """
        settled, edges = {}, defaultdict(list)
        for entry in choices:
            values = strengths[entry.name]
            best = max(range(1, entry.count), key=values.__getitem__)
            settled[entry.name] = best
            edges[entry.name.rpartition("/")[0]].append((values[best], entry.name))
        for rivals in edges.values():
            for _, name in sorted(rivals, reverse=True)[_INPUTS:]:
                settled[name] = 0
        return settled

    def draw_cell(self, kind: str, choice: Mapping[str, int]) -> ArchitecturePicture:
        """Return a picture of a cell."""
        return _draw_cell(kind, choice)


def _draw_cell(kind: str, choice: Mapping[str, int]) -> ArchitecturePicture:
    names = [name for name in choice if name.startswith(f"{kind}/")]
    count = len({name.split("/")[1] for name in names})
    nodes = [("in0", "cell before last"), ("in1", "last cell")]
    nodes += [(f"node{node}", f"node {node + 1}") for node in range(count)]
    edges = []
    for name in names:
        _, node, edge = name.split("/")
        if choice[name]:
            source = nodes[int(edge.removeprefix("edge"))][0]
            edges.append((source, node, _LABELS[choice[name]]))
    nodes.append(("out", "all nodes"))
    edges += [(f"node{node}", "out", "") for node in range(count)]
    return ArchitecturePicture(f"{kind} cell", tuple(nodes), tuple(edges))


class _Nodes(nn.Module):
    def __init__(self, channels: int, nodes: int, name: str) -> None:
        super().__init__()
        self.prefix = name
        self.nodes = nn.ModuleList(
            nn.ModuleList(_operations(channels) for _ in range(number + 2))
            for number in range(nodes)
        )

    def forward(self, before: Tensor, last: Tensor) -> list[Tensor]:
        values = [before, last]
        for number, node in enumerate(self.nodes):
            place = f"{self.prefix}/node{number}"
            edges: list[nn.ModuleList] = list(node)  # type: ignore[call-overload]
            parts = [
                choose([each(values[edge]) for each in operations], f"{place}/edge{edge}")
                for edge, operations in enumerate(edges)
            ]
            total: Tensor = parts[0]
            for part in parts[1:]:
                total = torch.add(total, part)
            values.append(total)
        return values[2:]


def _operations(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        [
            Zero(),
            nn.Identity(),
            max_pool(),
            average_pool(),
            separable(channels, 3),
            separable(channels, 5),
            separable(channels, 3, dilation=2),
            separable(channels, 5, dilation=2),
        ]
    )
