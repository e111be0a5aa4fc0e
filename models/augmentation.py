"""Random changes of training images, drawn from a generator of their own."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Augmentation = Callable[[Tensor, Generator], Tensor]


def shift(images: Tensor, generator: Generator, pixels: int) -> Tensor:
    """Move each image by up to ``pixels`` in both directions; zeros come in at the border.

    Shape:
        input and output (N, C, H, W).
    """
    count, channels, height, width = images.shape
    device = images.device
    padded = F.pad(images, (pixels,) * 4)
    start = torch.randint(0, 2 * pixels + 1, (2, count, 1), generator=generator).to(device)
    rows = start[0] + torch.arange(height, device=device)
    columns = start[1] + torch.arange(width, device=device)
    return padded[
        torch.arange(count, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Shape:
        input and output (N, C, H, W).
    """
    mirrored = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def shift_by_one(images: Tensor, generator: Generator) -> Tensor:
    """Augment 8x8 digits."""
    return shift(images, generator, 1)
