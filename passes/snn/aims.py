"""Aims: thresholds, swept until the result is as small as it is meant to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from compressc.passes.snn.settings import Threshold
from compressc.passes.snn.switched_layers import SwitchedLayer, matrices

# The aim is reached when this share of the epochs is over; the rest is for getting used to it.
_REACHED = 0.6


class Aim(Protocol):
    """Says which factors are switched off besides those that are 0 by themselves."""

    def masks(self, strengths: Sequence[Tensor], share: float) -> list[Tensor]:
        """Return what stays of each layer's factors, bool.

        Args:
            strengths: of each layer, one for each factor; see :func:`measure_strengths`.
            share: of the way to the aim that has been gone, from 0 to 1.

        Shape:
            strengths: (rows, columns) or (rows, 1) each; result: the same, or (rows, 1).
        """
        ...


def measure_strengths(factors: Tensor, matrix: Tensor, threshold: Threshold) -> Tensor:
    """Return what a threshold decides by, 0 or above, for each factor of a layer.

    Args:
        factors: as the switcher gives them.
        matrix: the layer's weights.
        threshold: "factors" for the factors themselves; "weights" for the size of the weights that
            they make, for a neuron the root of their mean square beside that of its layer.

    Shape:
        factors: (rows, columns) or (rows, 1); matrix: (rows, columns); result: that of factors.
    """
    if threshold == "factors":
        return factors
    if factors.shape == matrix.shape:
        return factors * matrix.abs()
    strengths = factors * matrix.square().mean(1, keepdim=True).sqrt()
    return strengths / strengths.square().mean().sqrt().clamp_min(torch.finfo(factors.dtype).tiny)


def aim_at(
    aims: Sequence[Aim],
    layers: Sequence[SwitchedLayer],
    state: Mapping[str, Tensor],
    factors: Sequence[Tensor],
    threshold: Threshold,
    share: float = 1.0,
) -> list[list[Tensor]]:
    """Return what each aim leaves of each layer's factors.

    Args:
        aims: that are aimed at.
        layers: the switched layers.
        state: the network's weights by name.
        factors: of each layer, as its switcher gives them.
        threshold: what aims decide by.
        share: of the way to them.
    """
    read = zip(factors, matrices(layers, state), strict=True)
    strengths = [measure_strengths(*each, threshold) for each in read]
    return [aim.masks(strengths, share) for aim in aims]


def share_of_way(epoch: int, epochs: int) -> float:
    """Return what share of the way to an aim is gone in an epoch: fast at first, then slower.

    Source:
        Zhu and Gupta, To Prune or Not to Prune, 2017, equation 1.
    """
    passed = min(1.0, epoch / max(1.0, _REACHED * (epochs - 1)))
    return 1 - (1 - passed) ** 3


def switch(picture: Tensor, masks: Sequence[Tensor]) -> tuple[Tensor, str]:
    """Return the factors that a layer gets, and what had to be kept of it against them, or "".

    A layer whose factors are all 0 would pass nothing on, and neither it nor its switcher would
    ever learn again.

    Args:
        picture: the factors as the switcher gives them, (rows, columns) or (rows, 1).
        masks: what stays of them, in shapes that are broadcast to the picture's.
    """
    stays = torch.ones_like(picture, dtype=torch.bool)
    for mask in masks:
        stays = stays & mask.to(picture.device)
    if not bool(stays.any()):
        stays = picture == picture.max()
    factors = picture * stays
    if bool((factors != 0).any()):
        return factors, ""
    return stays.to(picture.dtype), "all factors were 0, so its weights stay as they are"
