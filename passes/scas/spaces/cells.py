"""Networks of two kinds of cells: one that keeps height and width, and one that halves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn

from compressc.choices.space import SpaceSize
from compressc.errors import SpaceError
from compressc.passes.scas.spaces.blocks import Head, convolution, reduction_places

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
