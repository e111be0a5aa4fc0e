"""The switcher: a U-net that reads a weight matrix as a picture and answers with factors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressc.passes.snn.settings import Mode

# Factors begin near 1, which leaves a weight as it is: the bias of the output, and what its weights
# are multiplied with after they were drawn.
_FIRST_FACTOR, _FIRST_GAIN = 1.0, 0.1


class Switcher(nn.Module):
    """A U-net over an m x n matrix: rows are what a layer reads, columns are where that goes to.

    Encoder blocks are a 3 x 3 convolution, ReLU, and a max-pooling that halves the width. The
    decoder brings the width back, step by step, with its number of channels unchanged; what the
    encoder saw is added at each step through a row convolution, whose kernel is one row high. In
    the connection mode that kernel is 3 wide; in the neuron mode it is as wide as the matrix is at
    that step, and the decoder works at width 1. The output goes through ReLU, so that factors are
    0 or above. Any m and n will do; a width that is odd is halved up.

    Args:
        columns: n of the matrices that it will read; m may differ from call to call.
        mode: "connection": a factor for each entry; "neuron": one for each row.
        channels: of every convolution but the last.
        depth: how many encoder blocks.

    Source:
        Han, Liu, Hai, Li, Explore the Knowledge contained in Network Weights to Obtain Sparse
        Neural Networks, 2021.

    Deviations:
        The numbers of blocks and channels are ours. Pooling halves widths only, as the decoder
        restores widths only. The output begins near 1: its bias at 1, its weights at a
        tenth of what is drawn. Otherwise a trained network is lost before anything was learned.
    """

    def __init__(self, columns: int, mode: Mode, channels: int, depth: int) -> None:
        super().__init__()
        self.mode = mode
        widths = [columns]
        for _ in range(depth):
            widths.append((widths[-1] + 1) // 2)
        by_row = mode == "neuron"
        tall: tuple[int, int] = (3, 1) if by_row else (3, 3)
        self.encoder = nn.ModuleList(
            _same_size(1 if level == 0 else channels, channels, (3, 3)) for level in range(depth)
        )
        # The last one reads what comes out of the lowest pooling.
        skips = widths if by_row else widths[:depth]
        self.rows = nn.ModuleList(
            nn.Conv2d(channels, channels, (1, width))
            if by_row
            else _same_size(channels, channels, (1, 3))
            for width in skips
        )
        self.decoder = nn.ModuleList(
            _same_size(channels, 1 if level == 0 else channels, tall) for level in range(depth)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        last = self.decoder[0]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, _FIRST_FACTOR)
        with torch.no_grad():
            last.weight.mul_(_FIRST_GAIN)
        # Five times faster on a CPU than the other layout, with so few channels.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub lacks it

    @property
    def reach(self) -> int:
        """How many rows above and below a row its factors depend on."""
        return len(self.encoder) + len(self.decoder)

    def forward(self, matrix: Tensor) -> Tensor:
        """Return factors, 0 or above.

        Shape:
            matrix: (m, n); result: (m, n) in the connection mode, (m, 1) in the neuron mode.
        """
        x, maps = matrix[None, None], []
        for convolution in self.encoder:
            x = F.relu(convolution(x).contiguous(memory_format=torch.channels_last))
            maps.append(x)
            x = F.max_pool2d(x, (1, 2), ceil_mode=True)
        if self.mode == "neuron":
            x = self.rows[-1](x)
        for level in reversed(range(len(self.decoder))):
            if self.mode == "connection":
                x = F.interpolate(x, size=maps[level].shape[2:], mode="nearest")
            x = F.relu(self.decoder[level](x + self.rows[level](maps[level])))
        return x[0, 0]


def _same_size(inputs: int, outputs: int, kernel: tuple[int, int]) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
