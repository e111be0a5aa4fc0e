"""Bounding: points of a search space are moved to where the goal's bounds just hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressc.array_types import FloatArray
from compressc.bounds import Bounds
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.passes.spaces.search_space import SearchSpace

_HALVINGS = 10
_ROUNDING = 1e-9
# Steps that are tried behind the first that does not fit.
_TRIED = 4
# Coordinates that hardly move do not decide how far a ray goes on.
_LEAST_CHANGE = 0.05


@dataclass(frozen=True, eq=False)
class Bounding:
    """The bounds of a goal over a space; costs are those that the finished model is checked by.

    Costs are exact and cheap to compute, so a point that breaks a bound need never be evaluated:
    it moves on a straight line towards the most compressed point, as far as it must. Where saving
    beyond the bounds is worth nothing (``fills``), a point that leaves room takes it: it moves
    towards the original, as far as it can, and then one rank after another goes a step up.

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
            GoalError: if not even the most compressed point meets them.
        """
        if self._holds(self.space.least):
            return
        raise self.bounds.out_of_reach(
            self._cost(self.space.least),
            f"searching {', '.join(self.space.methods)}",
            "zeros do not count" if "pn" in self.space.methods else "",
            ("search more --spaces", "allow finer widths (--multiple-of)"),
        )

    def enforce(self, points: FloatArray) -> FloatArray:
        """Return the points moved inside the bounds.

        Shape:
            (points, coordinates), as the result.
        """
        if not self.bounds:
            return points
        return np.stack([self._enforce_one(values) for values in points])

    def first_within(self, towards: FloatArray) -> FloatArray:
        """Return the first point within the bounds on the way from the original to another point.

        The straight line goes on beyond ``towards``; where it leaves the space before the bounds
        are met, the rest of the way leads to the most compressed point.

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
        zeros = np.array([coordinate.method == "pn" for coordinate in self.space.coordinates])
        moved = np.where(zeros, values, moved)
        return self._take_steps(moved) if self.fills else moved

    def _along(self, start: FloatArray, end: FloatArray, far: float = 1.0) -> FloatArray:
        """Return the point nearest to ``start`` on its way to ``end`` at which the bounds hold.

        The search goes up to ``far`` times as far as ``end``; where the bounds do not hold there
        either, the farthest point is returned.
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
        """Return the point with as many ranks one step higher as the bounds allow."""
        places = np.flatnonzero(self.space.discrete & (values != self.space.whole))
        # An order of its own for every point, so that no layer is always first.
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
        plan = self.space.plan_of(self.space.point(values))
        return couple(self.space.program).cost(plan)
