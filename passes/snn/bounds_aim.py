"""The aim at bounds on the cost of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from compressc.array_types import BoolArray, FloatArray
from compressc.bounds import Bounds
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.goal import Bound
from compressc.passes.snn.switched_layers import SwitchedLayer
from compressc.passes.snn.unread_units import find_unread
from compressc.passes.widths.ladders import sparing_mask
from compressc.program import Program


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
        """Return masks under which the least worthy units are off, as an ``Aim`` does."""
        worth = self._worth(strengths)
        levels = np.unique(np.concatenate([*worth.values(), [-1.0]]))
        levels = levels[np.isfinite(levels)]
        bounds = self._on_the_way(share)
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high) // 2
            if bounds.hold(self._cost(self._keep(worth, levels[middle]))):
                high = middle
            else:
                low = middle + 1
        return self._as_masks(self._keep(worth, levels[low]))

    def _on_the_way(self, share: float) -> Bounds:
        """Return bounds that are a share of the way from the whole network to the goal."""
        limits = {}
        for what, amount in self.bounds.amounts.items():
            whole = float(getattr(self.bounds.original, what))
            limits[what] = Bound(whole + share * (amount - whole), relative=False)
        return replace(self.bounds, limits=limits)

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
