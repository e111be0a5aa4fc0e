"""Networks of two kinds of cells: one that keeps height and width, and one that halves them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from compressc.choices.branches import Choice
from compressc.choices.space import SearchSpace, SpaceSize
from compressc.errors import SpaceError
from compressc.passes.scas.spaces.blocks import Head, convolution, reduction_places
from compressc.pictures import ArchitecturePicture

# Makes a cell's nodes: channels, number of nodes, and the name that its decisions begin with.
MakeNodes = Callable[[int, int, str], nn.Module]


class CellNet(nn.Module):
    """A stem, cells that each read the two before them, and a head.

    Cells of one kind share their decisions, not their weights. Both inputs of a cell are brought to
    its channels by a 1x1 convolution, which in a reduction cell, and where an input is larger than
    the other, has a stride.

    Args:
        size: cells, channels of a node, nodes of a cell.
        inputs: channels of the images.
        classes: logits.
        reductions: how many cells halve height and width.
        make_nodes: makes what is in a cell: a module that takes the two inputs and returns the
            nodes' outputs.

    Source:
        Pham et al., ENAS, ICML 2018, section 2.4; Liu et al., DARTS, ICLR 2019, section 2.1.

    Deviations:
        A reduction cell has its strides at its inputs and not in its operations. Channels stay the
        same behind a reduction. The output is the concatenation of all nodes, as in DARTS.
    """

    def __init__(
        self, size: SpaceSize, inputs: int, classes: int, reductions: int, make_nodes: MakeNodes
    ) -> None:
        super().__init__()
        if size.layers <= reductions:
            raise SpaceError(
                f"cells need more than {reductions} layers to halve images in; --layers "
                f"{size.layers} is too few"
            )
        self.stem = convolution(inputs, size.channels, 3, stride=size.stem_stride)
        places = reduction_places(size.layers, reductions)
        widths, shrinks = [size.channels, size.channels], [0, 0]
        cells = []
        for number in range(size.layers):
            halved = shrinks[-1] + (number in places)
            strides = [2 ** (halved - shrinks[-2]), 2 ** (halved - shrinks[-1])]
            nodes = make_nodes(
                size.channels, size.nodes, "reduction" if number in places else "normal"
            )
            cells.append(_Cell(widths[-2:], size.channels, strides, nodes))
            widths.append(size.nodes * size.channels)
            shrinks.append(halved)
        self.cells = nn.ModuleList(cells)
        self.head = Head(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, C, H, W)."""
        before = last = self.stem(x)
        for cell in self.cells:
            before, last = last, cell(before, last)
        logits: Tensor = self.head(last)
        return logits


class _Cell(nn.Module):
    def __init__(
        self, widths: Sequence[int], channels: int, strides: Sequence[int], nodes: nn.Module
    ) -> None:
        super().__init__()
        self.before = _halving(widths[0], channels, strides[0])
        self.last = _halving(widths[1], channels, strides[1])
        self.nodes = nodes

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        return torch.cat(self.nodes(self.before(before), self.last(last)), 1)


def _halving(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return a 1x1 convolution behind as many averages of 2x2 positions as the stride needs."""
    pools = [nn.AvgPool2d(2) for _ in range(stride.bit_length() - 1)]
    assert prod(2 for _ in pools) == stride
    return nn.Sequential(*pools, convolution(inputs, outputs, 1))


class CellSpace(SearchSpace):
    """A space of two kinds of cells; what is in a cell is the space's own."""

    @abstractmethod
    def make_nodes(self, channels: int, nodes: int, prefix: str) -> nn.Module:
        """Return what is in a cell: a module that takes two inputs and returns its nodes' outputs.

        Args:
            channels: of every node.
            nodes: how many there are.
            prefix: what the names of its decisions begin with.
        """

    @abstractmethod
    def draw_cell(self, kind: str, choice: Mapping[str, int]) -> ArchitecturePicture:
        """Return a picture of the cells of one kind."""

    def build(self, size: SpaceSize, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the supernet.

        Raises:
            SpaceError: if there are too few cells.
        """
        return CellNet(size, input_shape[0], classes, self.reductions, self.make_nodes)

    def draw(
        self, choices: Sequence[Choice], choice: Mapping[str, int]
    ) -> tuple[ArchitecturePicture, ...]:
        """Return a picture of each of the two cells."""
        kinds = dict.fromkeys(entry.name.split("/")[0] for entry in choices)
        return tuple(self.draw_cell(kind, choice) for kind in kinds)
