"""The guide: what the policy is before it has learned anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressc.array_types import BoolArray, FloatArray
from compressc.coupling.graph import couple
from compressc.passes.rl_mcts.prunable_units import PrunableUnits
from compressc.plan import Plan

# A guide spreads over at least so many units.
_FEWEST = 3.0
# What the least unit is worth beside the most, so that groups can be compared by ratios.
_LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class Guide:
    """An order in which units leave.

    Attributes:
        units: of the network.
        worth: of each unit per cost, shape (units,); None for no guide.
        spread: share of the units over which probability is spread.
    """

    units: PrunableUnits
    worth: FloatArray | None
    spread: float

    def logits(
        self,
        best: BoolArray | None = None,
        deviates: FloatArray | None = None,
        wider: float = 1.0,
    ) -> FloatArray:
        """Return what is added to the policy's logits, shape (units,); 0 without a guide.

        Args:
            best: units that the best candidate so far keeps, which is followed; or None.
            deviates: by which each group is reweighted, in powers of e, shape (groups,); or None.
            wider: how often as wide the spread is.
        """
        if self.worth is None:
            return np.zeros(self.units.count)
        worth = self.worth
        if best is not None:
            worth = follow(self.units, worth, best)
        if deviates is not None:
            worth = worth * np.exp(deviates)[self.units.owner]
        return make_logits(worth, wider * self.spread)


def follow(units: PrunableUnits, worth: FloatArray, kept: BoolArray) -> FloatArray:
    """Return the worth of units changed so that those leave first that left in another candidate.

    Within a group, units that left come before the others, each in their old order. Groups are
    reweighted so that units on the edge of what left are alike.

    Args:
        units: of the network.
        worth: shape (units,).
        kept: what the other candidate keeps, shape (units,).

    Shape:
        result: (units,).
    """
    above = worth + _LEAST * max(float(worth.max()), _LEAST)
    followed = []
    for values, mask in zip(
        units.by_group(above).values(), units.masks(kept).values(), strict=True
    ):
        gone, line = int((~mask).sum()), np.sort(values)
        inner, outer = line[max(0, gone - 1)], line[min(gone, len(line) - 1)]
        changed = np.empty(len(line))
        changed[np.lexsort((values, mask))] = line / np.sqrt(inner * outer)
        followed.append(changed)
    return np.concatenate(followed)


def measure_worth_per_cost(units: PrunableUnits, values: FloatArray, what: str) -> FloatArray:
    """Return a feature of each unit per share of the whole cost that it takes, shape (units,).

    Args:
        units: whose.
        values: the feature, shape (units,).
        what: the cost: macs, params or size_bytes.
    """
    coupling = couple(units.program)
    everything = coupling.kept(Plan())
    costs = getattr(coupling.costs, what)
    full = float(costs(everything))
    prices = np.ones(len(units.groups))
    for place, group in enumerate(units.groups):
        without = everything.copy()
        without[group.classes] = False
        prices[place] = max((full - float(costs(without))) / group.size / full, 1e-12)
    worth: FloatArray = values / prices[units.owner]
    return worth


def make_logits(worth: FloatArray, spread: float) -> FloatArray:
    """Return logits under which units leave by their worth, least first.

    The probability falls by e over ``spread`` of all units, or a few. Since only differences count,
    what is left after some moves is guided by its own order in the same way.

    Args:
        worth: of each unit, shape (units,).
        spread: share of the units, above 0.

    Shape:
        result: (units,).
    """
    ranks = np.argsort(np.argsort(worth, kind="stable"), kind="stable")
    logits: FloatArray = -ranks / max(_FEWEST, spread * len(worth))
    return logits
