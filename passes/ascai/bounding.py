"""Bounding: individuals that break the goal's bounds are compressed further until they meet it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from compressc.costs import Cost
from compressc.errors import GoalError
from compressc.goal import Bound
from compressc.passes.ascai.space import SearchSpace
from compressc.passes.importance import FloatArray
from compressc.plan import Plan

_WORDS = {"macs": "MACs", "params": "parameters", "size_bytes": "bytes"}
_HALVINGS = 7
# Coordinates that hardly move do not decide how far a ray goes on.
_LEAST_CHANGE = 0.05


@dataclass(frozen=True, eq=False)
class Bounding:
    """The bounds of a goal over a space; costs are those that the driver verifies.

    Bounds are no part of the paper. Costs are exact and free, so no candidate that breaks a bound
    is ever evaluated: it moves on a straight line towards the most compressed individual, as far
    as it must.

    Attributes:
        space: the space.
        bounds: by what they bound; may be empty.
        full: cost of the original.
    """

    space: SearchSpace
    bounds: Mapping[str, Bound]
    full: Cost

    def check(self) -> None:
        """Check that the bounds can be met.

        Raises:
            GoalError: if not even the most compressed individual meets them.
        """
        if self._holds(self.space.least):
            return
        least = self._cost(self.space.least)
        what = max(self.bounds, key=lambda name: self._excess(name, least))
        bound, reached = self.bounds[what], getattr(least, what)
        share = reached / getattr(self.full, what)
        raised = ceil(share * 1000) / 1000 if bound.relative else reached
        zeros = "; zeros do not count" if "pn" in self.space.methods else ""
        raise GoalError(
            f"{what} target {bound.value:g} cannot be reached: searching "
            f"{', '.join(self.space.methods)} goes only down to {share:.3g} of the {_WORDS[what]} "
            f"({reached:.4g}){zeros}; raise the target to about {raised:g}, search more --spaces, "
            "or allow finer widths (--multiple-of)"
        )

    def enforce(self, population: FloatArray) -> FloatArray:
        """Return the population with every individual inside the bounds."""
        if not self.bounds:
            return population
        return np.stack([self._enforce_one(values) for values in population])

    def reach(self, towards: FloatArray) -> FloatArray:
        """Return the point nearest to the original that meets the bounds, straight towards another.

        The ray goes on beyond ``towards``; where it ends before the bounds are met, the rest of the
        way leads to the most compressed individual.

        Shape:
            (coordinates,), as the result.
        """
        whole = self.space.whole
        change = np.abs(towards - whole) / np.abs(self.space.least - whole)
        low, high = 0.0, 1.0 / max(float(change[change > 0].min(initial=1.0)), _LEAST_CHANGE)

        def point(share: float) -> FloatArray:
            values = whole + share * (towards - whole)
            return self.space.clip(np.where(self.space.discrete, np.floor(values), values))

        for _ in range(2 * _HALVINGS):
            middle = (low + high) / 2
            if self._holds(point(middle)):
                high = middle
            else:
                low = middle
        return self._enforce_one(point(high))

    def _enforce_one(self, values: FloatArray) -> FloatArray:
        if self._holds(values):
            return values
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._holds(self._moved(values, middle)):
                high = middle
            else:
                low = middle
        return self._moved(values, high)

    def _moved(self, values: FloatArray, share: float) -> FloatArray:
        moved = values + share * (self.space.least - values)
        # Rank steps go down to the next whole one; at share 1 all arrive.
        return self.space.clip(np.where(self.space.discrete, np.floor(moved), moved))

    def _holds(self, values: FloatArray) -> bool:
        if not self.bounds:
            return True
        cost = self._cost(values)
        return all(self._excess(what, cost) <= 0 for what in self.bounds)

    def _cost(self, values: FloatArray) -> Cost:
        plan = self.space.plan_of(self.space.individual(values))
        return self.space.program.coupling.cost(Plan(keep=plan.keep, rank=plan.rank))

    def _excess(self, what: str, cost: Cost) -> float:
        original = float(getattr(self.full, what))
        amount = float(getattr(cost, what))
        return (amount - self.bounds[what].absolute(original)) / original
