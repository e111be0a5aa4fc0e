"""What supernets are made of: convolutions with batch norms, pools, zeros."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Return a convolution, a batch norm and a ReLU; height and width stay but for the stride."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def separable(channels: int, kernel: int, *, dilation: int = 1) -> nn.Sequential:
    """Return a depthwise and a pointwise convolution, a batch norm and a ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel, 1, padding, dilation, channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class Zero(nn.Module):
    """Nothing comes through: a connection that is left out."""

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros of the input's shape."""
        return torch.zeros_like(x)


def average_pool() -> nn.Module:
    """Return an average over 3x3 positions; what is padded does not count."""
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def max_pool() -> nn.Module:
    """Return the maximum of 3x3 positions."""
    return nn.MaxPool2d(3, 1, 1)


class Head(nn.Module):
    """The mean over all positions, and a linear layer.

    Args:
        channels: that it reads.
        classes: logits that it gives.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of features (N, channels, H, W)."""
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def reduction_places(layers: int, reductions: int) -> frozenset[int]:
    """Return before which layers height and width are halved: evenly spread, none at the start."""
    return frozenset(
        max(1, round(layers * part / (reductions + 1))) for part in range(1, reductions + 1)
    )
