"""Leaves: random pictures of shapes that cover one another, the nearest thing to photographs.

Measured on a network without batch norm (MTCNN's ONet, half the MACs, error of its three outputs on
photographs after repair on 512 of them): noise with the spectrum of pictures 0.83, 0.68, 0.71;
leaves 0.54, 0.45, 0.88; leaves with soft edges 0.51, 0.43, 0.56; small real pictures 0.45, 0.35,
0.78.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

# How many shapes a picture has: they cover it about one and a half times.
_SHAPES = 80
# Radii of shapes as shares of the shorter side; small ones are the most.
_SMALLEST, _LARGEST = 1 / 32, 1 / 2
# Deviation of a shape's logarithm of length over width, and of a picture's logarithm of contrast.
_ELONGATION, _CONTRAST = 0.4, 0.5
# Share of the deviation that the channels of a picture have in common: pictures are mostly grey.
_COMMON = 0.9


def draw_leaves(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Return pictures of ellipses and rectangles of all sizes, one above the other.

    Mean 0 and deviation 1 over everything; contrast differs between pictures.

    Args:
        shape: (batch, channels, height, width).
        generator: of every number.

    Source:
        Lee, Mumford and Huang, Occlusion models for natural images, IJCV 2001; Baradad et al.,
        Learning to See by Looking at Noise, NeurIPS 2021.

    Deviations:
        Edges are softened over three pixels, as lenses do.
    """
    count, channels, height, width = shape
    side = min(height, width)
    smallest, largest = _SMALLEST * side, _LARGEST * side
    rows = torch.arange(height)[None, :, None]
    columns = torch.arange(width)[None, None, :]
    pictures = _draw_colours(count, channels, generator).expand(shape).clone()
    for _ in range(_SHAPES):
        share, across, down, turn, kind = torch.rand(5, count, 1, 1, generator=generator)
        # Density falls with the cube of the radius: the same shapes at every magnification.
        radius = (share * (smallest**-2 - largest**-2) + largest**-2).rsqrt()
        longer = (torch.randn(count, 1, 1, generator=generator) * _ELONGATION).exp()
        angle = torch.pi * turn
        x, y = columns - across * width, rows - down * height
        along = (x * angle.cos() + y * angle.sin()) / (radius * longer)
        aside = (y * angle.cos() - x * angle.sin()) / (radius / longer)
        ellipse = along.square() + aside.square() < 1
        inside = torch.where(kind < 0.5, ellipse, along.abs().maximum(aside.abs()) < 1)
        colours = _draw_colours(count, channels, generator)
        pictures = torch.where(inside[:, None], colours, pictures)
    if side > 2:
        pictures = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    contrast = (torch.randn(count, 1, 1, 1, generator=generator) * _CONTRAST).exp()
    pictures = pictures * contrast
    return (pictures - pictures.mean()) / pictures.std().clamp_min(1e-6)


def _draw_colours(count: int, channels: int, generator: Generator) -> Tensor:
    """Return one colour for each picture, (count, channels, 1, 1)."""
    common = torch.randn(count, 1, 1, 1, generator=generator)
    own = torch.randn(count, channels, 1, 1, generator=generator)
    return _COMMON * common + math.sqrt(1 - _COMMON**2) * own
