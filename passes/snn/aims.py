"""Aims: thresholds, swept until the result is as small as it is meant to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from compressc.array_types import BoolArray, FloatArray
from compressc.bounds import Bounds
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.passes.snn.settings import Threshold
from compressc.passes.snn.switched_layers import SwitchedLayer, matrices
from compressc.passes.snn.unread_units import find_unread, follow_unread
from compressc.passes.widths.ladders import sparing_mask
from compressc.program import Program

# Of what a layer would keep if all layers were alike, it keeps this part at least.
_SPARED = 0.1
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


@dataclass(frozen=True, eq=False)
class SparsityAim:
    """A share of zeros in the switched weights, by one threshold for all layers.

    What feeds a neuron that nothing reads counts as zero in the neuron mode. No layer loses
    everything: each keeps a tenth of what it would keep if all were alike.

    Attributes:
        program: with the layers.
        sparsity: share of zeros.
        layers: the switched layers, all in the same mode.
    """

    program: Program
    sparsity: float
    layers: tuple[SwitchedLayer, ...]

    def masks(self, strengths: Sequence[Tensor], share: float) -> list[Tensor]:
        """Return masks under which the weakest factors are off; see :class:`Aim`."""
        sparsity = share * self.sparsity
        values = []
        for picture in strengths:
            flat = picture.flatten()
            spared = flat.topk(ceil(_SPARED * (1 - sparsity) * len(flat))).indices
            values.append(flat.index_fill(0, spared, torch.inf))
        order = torch.cat(values).argsort(stable=True).cpu()
        sizes = [picture.shape for picture in strengths]
        if self.layers[0].mode == "connection":
            return _without(order, ceil(round(sparsity * len(order), 6)), sizes)
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self._zeros(_without(order, middle, sizes)) >= sparsity:
                high = middle
            else:
                low = middle + 1
        return _without(order, low, sizes)

    def _zeros(self, masks: Sequence[Tensor]) -> float:
        living = {
            layer.weight: np.broadcast_to(layer.fit(mask).numpy(), layer.shape)
            for layer, mask in zip(self.layers, masks, strict=True)
        }
        _, left = follow_unread(self.program, self.layers, living)
        count = sum(int(mask.sum()) for mask in left.values())
        return 1 - count / sum(mask.size for mask in left.values())


def _without(order: Tensor, count: int, sizes: Sequence[torch.Size]) -> list[Tensor]:
    """Return masks of these sizes without the first ``count`` places of an order."""
    stays = torch.ones(len(order), dtype=torch.bool)
    stays[order[:count]] = False
    parts = stays.split([size.numel() for size in sizes])  # type: ignore[no-untyped-call]
    return [part.view(size) for part, size in zip(parts, sizes, strict=True)]


@dataclass(frozen=True, eq=False)
class BoundsAim:
    """Bounds on the cost of the network, by one threshold on what units are worth.

    A unit is worth as much as the strongest of its connections. Units leave whole, so no
    factor of a unit that stays is touched.

    Attributes:
        program: whose units leave.
        bounds: on its cost.
        layers: the switched layers.
    """

    program: Program
    bounds: Bounds
    layers: tuple[SwitchedLayer, ...]

    @cached_property
    def _removable(self) -> dict[str, BoolArray]:
        """Which units nothing but switched layers reads."""
        nothing = {layer.weight: np.zeros(layer.rows, dtype=bool) for layer in self.layers}
        return find_unread(self.program, nothing)

    @cached_property
    def least(self) -> Cost:
        """What is left when every unit that can leave is gone."""
        nothing = {name: np.where(free, 0.0, np.inf) for name, free in self._removable.items()}
        return self._cost(self._keep(nothing, 0.0))

    def masks(self, strengths: Sequence[Tensor], share: float) -> list[Tensor]:
        """Return masks under which the least worthy units are off; see :class:`Aim`."""
        worth = self._worth(strengths)
        levels = np.unique(np.concatenate([*worth.values(), [-1.0]]))
        levels = levels[np.isfinite(levels)]
        whole = self.bounds.original
        limits = replace(
            self.bounds.in_amounts(),
            limits={
                what: replace(
                    bound, value=_between(float(getattr(whole, what)), bound.value, share)
                )
                for what, bound in self.bounds.in_amounts().limits.items()
            },
        )
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high) // 2
            if limits.hold(self._cost(self._keep(worth, levels[middle]))):
                high = middle
            else:
                low = middle + 1
        return self._as_masks(self._keep(worth, levels[low]))

    def _worth(self, strengths: Sequence[Tensor]) -> dict[str, FloatArray]:
        best = {
            layer.weight: picture.amax(1).double().cpu().numpy()
            for layer, picture in zip(self.layers, strengths, strict=True)
        }
        worth = {}
        for name, free in self._removable.items():
            values = np.where(free, 0.0, np.inf)
            for member in couple(self.program).group(name).members:
                if member.tensor in best and member.axis == 1:
                    np.maximum.at(values, member.unit, best[member.tensor][member.position])
            worth[name] = values
        return worth

    def _keep(self, worth: dict[str, FloatArray], threshold: float) -> dict[str, BoolArray]:
        keep = {}
        for name, values in worth.items():
            living = values > threshold
            finite = np.where(np.isfinite(values), values, 0.0)
            importance = finite + living * (1.0 + finite.max())
            keep[name] = sparing_mask(couple(self.program).group(name), importance, living)
        return keep

    def _cost(self, keep: dict[str, BoolArray]) -> Cost:
        return couple(self.program).cost(self.program.plan.with_keep(keep))

    def _as_masks(self, keep: dict[str, BoolArray]) -> list[Tensor]:
        masks = []
        for layer in self.layers:
            rows = np.ones(layer.rows, dtype=bool)
            for name, mask in keep.items():
                for member in couple(self.program).group(name).members:
                    if member.tensor == layer.weight and member.axis == 1:
                        rows[member.position[~mask[member.unit]]] = False
            masks.append(torch.from_numpy(rows)[:, None])
        return masks


def _between(start: float, end: float, share: float) -> float:
    return start + share * (end - start)


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
