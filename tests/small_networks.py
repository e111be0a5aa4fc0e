"""Networks of a few layers for 8x8 images, as programs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import compressc
from compressc.program import Program


class TwoConvs(nn.Module):
    """Two convolutions and four classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv2(self.conv1(x).relu()).relu().mean((2, 3)))


def seeded_program(network: Callable[[], nn.Module]) -> Program:
    """Return the program of a network built and captured from seed 0."""
    torch.manual_seed(0)
    return compressc.capture(network(), (torch.randn(2, 3, 8, 8),))
