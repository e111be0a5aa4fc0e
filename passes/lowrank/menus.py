"""Rank menus: the ranks at which a layer may be factorised, by the energy that they keep."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressc.array_types import FloatArray
from compressc.coupling.graph import couple
from compressc.factors.low_rank import spectra
from compressc.factors.sites import FactorSite
from compressc.program import Program


@dataclass(frozen=True)
class RankOption:
    """Ranks, and the highest energy at which they are enough."""

    energy: float
    ranks: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RankMenu:
    """What one layer can be factorised to.

    Attributes:
        site: the layer.
        inputs, outputs: its channels that stay.
        options: lowest energy first; each takes fewer MACs than the layer.
    """

    site: FactorSite
    inputs: int
    outputs: int
    options: tuple[RankOption, ...]

    def ranks_at(self, energy: float) -> tuple[int, ...] | None:
        """Return the least ranks that keep an energy, or None where the layer is cheaper whole."""
        index = bisect_left(self.options, energy, key=lambda option: option.energy)
        return self.options[index].ranks if index < len(self.options) else None

    def energy_of(self, ranks: tuple[int, ...]) -> float:
        """Return the energy that an option keeps."""
        return next(option.energy for option in self.options if option.ranks == ranks)

    def next_above(self, ranks: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the next wider option, or None."""
        known = [option.ranks for option in self.options]
        index = known.index(ranks) + 1
        return known[index] if index < len(known) else None


def build_menu(program: Program, layer: str) -> RankMenu:
    """Return the menu of a layer whose channels the pending plan has decided.

    Ranks are multiples of the constraints' ``multiple_of``, or of half of it and so on where the
    layer is too narrow for that, or the full size.
    """
    site = couple(program).factor_sites.site(layer)
    weight = slice_weight(program, site)
    outputs, inputs = weight.shape[:2]
    kept = [_kept_energy(values.numpy()) for values in spectra(weight, site.modes)]
    sizes = site.sizes(inputs, outputs)
    steps = rank_steps(inputs, outputs, site.modes, program.constraints.multiple_of)
    options: list[RankOption] = []
    for energy in np.unique(np.concatenate(kept)):
        ranks = tuple(
            min(-(-_rank(shares, energy) // step) * step, size)
            for shares, step, size in zip(kept, steps, sizes, strict=True)
        )
        if not site.saves(ranks, inputs, outputs):
            break
        if options and options[-1].ranks == ranks:
            options.pop()
        options.append(RankOption(float(energy), ranks))
    return RankMenu(site, inputs, outputs, tuple(options))


def slice_weight(program: Program, site: FactorSite) -> Tensor:
    """Return a layer's weight without the channels that are to leave."""
    kept = couple(program).view(program.plan)
    rows, columns = (
        torch.as_tensor(np.flatnonzero(kept.mask(axis))) for axis in (site.out_axis, site.in_axis)
    )
    weight = program.graph_module.get_parameter(site.weight).detach().cpu()
    return weight[rows][:, columns]


def _kept_energy(values: FloatArray) -> FloatArray:
    """Return the share of the energy that the first 1, 2, ... singular values hold."""
    total = float(np.square(values).sum())
    if total == 0:
        return np.ones(1)
    shares: FloatArray = np.minimum(np.cumsum(np.square(values)) / total, 1.0)
    shares[-1] = 1.0
    return shares


def _rank(shares: FloatArray, energy: float) -> int:
    return min(int(np.searchsorted(shares, energy)) + 1, len(shares))


def rank_steps(inputs: int, outputs: int, modes: int, multiple_of: int) -> list[int]:
    """Return the step of each rank: ``multiple_of``, or half of it and so on in narrow layers.

    The first multiple of a step saves something.
    """
    most = (
        [(inputs * outputs - 1) // (inputs + outputs)]
        if modes == 1
        else [outputs // 2, inputs // 2]
    )
    steps = []
    for largest in most:
        step = multiple_of
        while step > max(largest, 1):
            step //= 2
        steps.append(step)
    return steps
