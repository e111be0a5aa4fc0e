"""Switchers: one for each switched layer, learning together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from compressc.passes.snn.row_blocks import count_block_rows, read_in_blocks
from compressc.passes.snn.settings import SnnSettings
from compressc.passes.snn.switched_layers import SwitchedLayer, matrices
from compressc.passes.snn.switcher import Switcher


class Switchers(nn.Module):
    """The switchers of several layers.

    Each reads its matrix divided by the root of its mean square, so that layers with small and
    with large weights look alike to it (not in the paper).

    Args:
        layers: whose weights are read.
        settings: shape of the switchers, and what memory they may use.

    Raises:
        PlanError: if a matrix is too large for the memory.
    """

    def __init__(self, layers: Sequence[SwitchedLayer], settings: SnnSettings) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.each = nn.ModuleList(
            Switcher(layer.columns, layer.mode, settings.switcher_channels, settings.switcher_depth)
            for layer in layers
        )
        self._block_rows = [
            count_block_rows(layer.rows, layer.columns, switcher, settings.memory_mb, layer.name)
            for layer, switcher in zip(self.layers, self._switchers(), strict=True)
        ]

    def _switchers(self) -> list[Switcher]:
        return [each for each in self.each if isinstance(each, Switcher)]

    def forward(self, state: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the factors of each layer as its switcher gives them for these weights.

        Shape:
            (rows, columns), or (rows, 1) in the neuron mode.
        """
        read = zip(self._switchers(), matrices(self.layers, state), self._block_rows, strict=True)
        return [read_in_blocks(switcher, _scaled(matrix), rows) for switcher, matrix, rows in read]


def _scaled(matrix: Tensor) -> Tensor:
    size = matrix.square().mean().sqrt()
    return matrix / size.clamp_min(torch.finfo(matrix.dtype).tiny)
