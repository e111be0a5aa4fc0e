"""Waves: random inputs with the spectrum that pictures and sounds have."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Generator, Tensor

# Share of the deviation that the channels of a picture have in common: pictures are mostly grey.
_COMMON = 0.9


def draw_waves(shape: Sequence[int], axes: Sequence[int], generator: Generator) -> Tensor:
    """Return noise whose amplitude falls with the frequency, as in pictures (1/f).

    Mean 0 and deviation 1 over everything; contrast and brightness differ between samples.

    Args:
        shape: batch first, channels second.
        axes: along which neighbours are alike; none gives plain normal noise.
        generator: of every number.

    Shape:
        result ``shape``, float32.

    Source:
        Field, Relations between the statistics of natural images and the response properties of
        cortical cells, 1987.
    """
    shape, axes = tuple(shape), tuple(axes)
    if not axes or prod(shape[axis] for axis in axes) < 2:
        return torch.randn(shape, generator=generator)
    waves = _filtered(shape, axes, generator)
    if len(axes) > 1 and shape[1] > 1:
        common = _filtered((shape[0], 1, *shape[2:]), axes, generator)
        waves = _COMMON * common + (1 - _COMMON**2) ** 0.5 * waves
    return (waves - waves.mean()) / waves.std().clamp_min(1e-6)


def _filtered(shape: tuple[int, ...], axes: tuple[int, ...], generator: Generator) -> Tensor:
    white = torch.randn(shape, generator=generator)
    spectrum = torch.fft.rfftn(white, dim=axes)
    square = torch.zeros(())
    for place, axis in enumerate(axes):
        frequencies = torch.fft.rfftfreq if place == len(axes) - 1 else torch.fft.fftfreq
        along = frequencies(shape[axis])
        square = square + along.square().view([-1 if d == axis else 1 for d in range(len(shape))])
    # The mean of a sample is the wave that is too long for it.
    longest = max(shape[axis] for axis in axes)
    amplitude = square.sqrt().clamp_min(0.5 / longest)
    waves: Tensor = torch.fft.irfftn(
        spectrum / amplitude, s=[shape[axis] for axis in axes], dim=axes
    )
    return waves
