"""Batch norm statistics that follow a change of what a batch norm reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# A channel that hardly varies any more must not have its noise blown up.
_LEAST_RATIO = 1e-2


def measure_statistics(values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each channel over all batches, float64.

    Shape:
        values (batch, channels, *space) each; results (channels,).
    """
    axes = [axis for axis in range(values[0].dim()) if axis != 1]
    count = sum(value.numel() // value.shape[1] for value in values)
    mean = torch.stack([value.double().sum(axes) for value in values]).sum(0) / count
    shape = (-1, *[1] * (values[0].dim() - 2))
    squares = [(value.double() - mean.view(shape)).square().sum(axes) for value in values]
    return mean, torch.stack(squares).sum(0) / count


def follow(
    mean: Tensor, variance: Tensor, before: Sequence[Tensor], after: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return running statistics with which the outputs keep their mean and variance.

    Statistics of a few hundred samples alone would be noisy where those of the training run were
    not; the difference that pruning makes on the same samples is not. Values that did not change
    keep their statistics exactly.

    Args:
        mean: running mean of the original, (channels,).
        variance: running variance of the original, (channels,).
        before: what the batch norm reads in the original network, per batch.
        after: what it reads now, per batch.

    Shape:
        values (batch, channels, *space) each; results (channels,), float64.
    """
    old_mean, old_variance = measure_statistics(before)
    new_mean, new_variance = measure_statistics(after)
    tiny = torch.finfo(torch.float32).tiny
    ratio = torch.where(old_variance > tiny, new_variance / old_variance.clamp_min(tiny), 1.0)
    ratio = ratio.clamp(_LEAST_RATIO, 1 / _LEAST_RATIO)
    return new_mean - (old_mean - mean.double()) * ratio.sqrt(), variance.double() * ratio
