"""The table of blocks that random networks are made of.

A block takes (batch, channels, h, w) and returns (batch, channels', h', w') with channels' a
multiple of four. ``variant`` picks among spellings of the same pattern.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Block = Callable[[int, int], nn.Module]

BLOCKS: dict[str, Block] = {}
VARIANTS: dict[str, int] = {}


def block(name: str, variants: int = 1) -> Callable[[Block], Block]:
    """Register a block under a name; ``variants`` spellings exist."""

    def register(make: Block) -> Block:
        if name in BLOCKS:
            raise ValueError(f"two blocks are called {name}")
        BLOCKS[name] = make
        VARIANTS[name] = variants
        return make

    return register


def conv_norm(
    channels: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return convolution, batch norm, and an activation that no channel dies of."""
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.LeakyReLU(0.2),
    )
