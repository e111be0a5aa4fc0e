"""Bounding: individuals are moved to where the goal's bounds just hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressc.array_types import FloatArray
from compressc.bounds import Bounds
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.passes.ascai.space import SearchSpace

_HALVINGS = 10
_ROUNDING = 1e-9
# Steps that are tried behind the first that does not fit.
_TRIED = 4
# Coordinates that hardly move do not decide how far a ray goes on.
_LEAST_CHANGE = 0.05


@dataclass(frozen=True, eq=False)
class Bounding:
    """The bounds of a goal over a space; costs are those that the driver verifies.

    Bounds are no part of the paper. Costs are exact and free, so no candidate that breaks a bound
    is ever evaluated: it moves on a straight line towards the most compressed individual, as far
    as it must. Where saving beyond the bounds is worth nothing, one that leaves room takes it: it
    moves towards the original, as far as it can, and the steps that are still free then go to one
    rank after another.

    Attributes:
        space: the space.
        bounds: of the goal; may be empty.
        fills: whether room that is left is taken.
    """

    space: SearchSpace
    bounds: Bounds
    fills: bool = False

    def check(self) -> None:
        """Check that the bounds can be met.

        Raises:
            GoalError: if not even the most compressed individual meets them.
        """
        if self._holds(self.space.least):
            return
        raise self.bounds.out_of_reach(
            self._cost(self.space.least),
            f"searching {', '.join(self.space.methods)}",
            "zeros do not count" if "pn" in self.space.methods else "",
            ("search more --spaces", "allow finer widths (--multiple-of)"),
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
        change = np.abs(towards - whole) / np.maximum(np.abs(self.space.least - whole), 1.0)
        least = max(float(change[change > 0].min(initial=1.0)), _LEAST_CHANGE)
        return self._enforce_one(self._along(whole, towards, 1.0 / least))

    def _enforce_one(self, values: FloatArray) -> FloatArray:
        moved = values
        if not self._holds(values):
            moved = self._along(values, self.space.least)
        elif self.fills:
            moved = self._along(self.space.whole, values)
        # Bounds do not see zeros.
        zeros = np.array([one.method == "pn" for one in self.space.coordinates])
        moved = np.where(zeros, values, moved)
        return self._take_steps(moved) if self.fills else moved

    def _along(self, start: FloatArray, end: FloatArray, far: float = 1.0) -> FloatArray:
        """Return the point nearest to ``start`` on its way to ``end`` at which the bounds hold.

        Where they do not even ``far`` times as far as ``end``, that is the point.
        """

        def point(share: float) -> FloatArray:
            values = start + share * (end - start)
            # Rank steps go down to the next whole one.
            return self.space.clip(
                np.where(self.space.discrete, np.floor(values + _ROUNDING), values)
            )

        low, high = 0.0, far
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._holds(point(middle)):
                high = middle
            else:
                low = middle
        return point(high)

    def _take_steps(self, values: FloatArray) -> FloatArray:
        """Return the individual with as many ranks one step higher as the bounds allow."""
        places = np.flatnonzero(self.space.discrete & (values != self.space.whole))
        # An order of its own for every individual, so that no layer is always first.
        rng = np.random.default_rng(np.ascontiguousarray(values).view(np.uint64))
        order = rng.permutation(places)

        def raised(count: int) -> FloatArray:
            steps = values.copy()
            steps[order[:count]] += 1
            return steps

        # The first that fit one after another, found by halving.
        taken, refused = 0, len(order) + 1
        while refused - taken > 1:
            middle = (taken + refused) // 2
            if self._holds(raised(middle)):
                taken = middle
            else:
                refused = middle
        values = raised(taken)
        for place in order[refused : refused + _TRIED]:
            higher = values.copy()
            higher[place] += 1
            if self._holds(higher):
                values = higher
        return values

    def _holds(self, values: FloatArray) -> bool:
        return not self.bounds or self.bounds.hold(self._cost(values))

    def _cost(self, values: FloatArray) -> Cost:
        plan = self.space.plan_of(self.space.individual(values))
        return couple(self.space.program).cost(plan)
