"""The micro space of ENAS: a convolution cell and a reduction cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from compressc.choices.operation import choose
from compressc.passes.scas.spaces.blocks import average_pool, max_pool, separable
from compressc.passes.scas.spaces.cells import CellSpace
from compressc.pictures import ArchitecturePicture

_LABELS = ("identity", "separable 3x3", "separable 5x5", "average pool", "max pool")
_SIDES = ("left", "right")


class EnasMicro(CellSpace):
    """Cells of nodes that each add up two operations, each on one of the values before.

    Source:
        Pham et al., Efficient Neural Architecture Search via Parameter Sharing, ICML 2018,
        section 2.4.

    Deviations:
        As :class:`compressc.passes.scas.spaces.cells.CellNet` says. An operation's weights are the
        same whichever value it reads.
    """

    name: ClassVar[str] = "enas-micro"

    def make_nodes(self, channels: int, nodes: int, prefix: str) -> nn.Module:
        """Return what is in a cell."""
        return _Nodes(channels, nodes, prefix)

    def draw_cell(self, kind: str, choice: Mapping[str, int]) -> ArchitecturePicture:
        """Return a picture of a cell."""
        return _draw_cell(kind, choice)


def _draw_cell(kind: str, choice: Mapping[str, int]) -> ArchitecturePicture:
    nodes, edges = [("in0", "cell before last"), ("in1", "last cell")], []
    count = sum(name.startswith(f"{kind}/") for name in choice) // 4
    for node in range(count):
        nodes.append((f"node{node}", f"node {node + 1}"))
        for side in _SIDES:
            source = choice[f"{kind}/node{node}/{side}/input"]
            label = _LABELS[choice[f"{kind}/node{node}/{side}/operation"]]
            edges.append((nodes[source][0], f"node{node}", label))
    nodes.append(("out", "all nodes"))
    edges += [(f"node{node}", "out", "") for node in range(count)]
    return ArchitecturePicture(f"{kind} cell", tuple(nodes), tuple(edges))


class _Nodes(nn.Module):
    def __init__(self, channels: int, nodes: int, name: str) -> None:
        super().__init__()
        self.prefix = name
        self.nodes = nn.ModuleList(
            nn.ModuleDict({side: _operations(channels) for side in _SIDES}) for _ in range(nodes)
        )

    def forward(self, before: Tensor, last: Tensor) -> list[Tensor]:
        values = [before, last]
        for number, sides in enumerate(self.nodes):
            parts = [
                _one_side(sides[side], values, f"{self.prefix}/node{number}/{side}")  # type: ignore[index]
                for side in _SIDES
            ]
            values.append(parts[0] + parts[1])
        return values[2:]


def _operations(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        [
            nn.Identity(),
            separable(channels, 3),
            separable(channels, 5),
            average_pool(),
            max_pool(),
        ]
    )


def _one_side(operations: nn.ModuleList, values: Sequence[Tensor], name: str) -> Tensor:
    source = choose(values, f"{name}/input")
    return choose([each(source) for each in operations], f"{name}/operation")
