"""Allocation: how many units of each group stay, so that the goal is met.

Every group is a ladder of allowed counts. The steps of all ladders are put in one order, the most
valuable first, and as many are kept as the bounds allow (bisection).

In a uniform scope that is the result wherever it comes close to the bound: a looser goal then keeps
more of the same order, so no group shrinks when the goal grows. Where one step costs more than the
window below the bound, and in a global scope, the room that is left is used: steps that still fit
are added back, best importance per cost first (in a uniform scope the narrowest groups before the
others); pairs of steps are exchanged; and where few combinations exist, all of them are tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compressc.array_types import FloatArray, IntArray
from compressc.passes.widths.costs import CountCosts
from compressc.passes.widths.ladders import Ladder

Scope = Literal["uniform", "global"]

# Shares of the original cost: results should end in the window below the bound; closer than AIM
# is not worth disturbing the order of importance for, and below FULL nothing more is added.
WINDOW = 0.03
AIM = 0.01
FULL = 0.001
_EXCHANGES = 24
_PAIRS = 256
_COMBINATIONS = 20_000


@dataclass(frozen=True, eq=False)
class Allocation:
    """The rung of every ladder, shape (ladders,), and how far the cost lies below the bounds."""

    rungs: IntArray
    slack: float


@dataclass(frozen=True, eq=False)
class Allocator:
    """Chooses rungs of ladders under the bounds of a cost model.

    Attributes:
        ladders: one per group that may shrink.
        costs: their cost model, groups in the same order.
        scope: "uniform" orders steps by the level at which the ladder takes them, "global" by
            importance.
        floor: share of a group that is kept until every other group is down to it, too. Groups
            that may vanish have no floor: their axes keep other channels.
    """

    ladders: Sequence[Ladder]
    costs: CountCosts
    scope: Scope
    floor: float

    def allocate(self) -> Allocation | None:
        """Return the best allocation there is, or None if the bounds hold for none at all."""
        if self._slack(self._top) >= 0:
            return Allocation(self._top, self._slack(self._top))
        if self._slack(np.zeros_like(self._top)) < 0:
            return None
        group_of_step = self._order_steps()
        low, high = 0, len(group_of_step)
        while high - low > 1:
            middle = (low + high) // 2
            if self._slack(self._rungs_of(group_of_step[:middle])) >= 0:
                low = middle
            else:
                high = middle
        rungs = self._rungs_of(group_of_step[:low])
        if self.scope == "uniform":
            allocation = Allocation(rungs, self._slack(rungs))
            if allocation.slack > WINDOW:
                allocation = self._fill(rungs, WINDOW)
        else:
            allocation = self._exchange(self._fill(rungs, AIM))
        if allocation.slack > WINDOW:
            allocation = self._try_all(self._exchange(allocation))
        return allocation

    @property
    def _top(self) -> IntArray:
        return np.array([ladder.steps for ladder in self.ladders], dtype=np.int64)

    def _counts(self, rungs: IntArray) -> IntArray:
        pairs = zip(self.ladders, rungs, strict=True)
        return np.array([ladder.counts[rung] for ladder, rung in pairs], dtype=np.int64)

    def _slack(self, rungs: IntArray) -> float:
        return float(self.costs.slack(self._counts(rungs)[None])[0])

    def _rungs_of(self, group_of_step: IntArray) -> IntArray:
        return np.bincount(group_of_step, minlength=len(self.ladders)).astype(np.int64)

    def _order_steps(self) -> IntArray:
        """Return the steps, those to keep first in front, each as the index of its ladder."""
        group, spared, priority, density = [], [], [], []
        unit_costs = self._unit_costs()
        for index, ladder in enumerate(self.ladders):
            group.append(np.full(ladder.steps, index, dtype=np.int64))
            spared.append(self._below_floor(ladder))
            priority.append(-ladder.levels if self.scope == "uniform" else ladder.priorities)
            density.append(ladder.priorities / unit_costs[index])
        keys = [np.concatenate(parts) for parts in (density, priority, spared)]
        order = np.lexsort([-key.astype(np.float64) for key in keys])
        return np.concatenate(group)[order]

    def _below_floor(self, ladder: Ladder) -> NDArray[np.bool_]:
        if ladder.group.minimum == 0:
            return np.zeros(ladder.steps, dtype=bool)
        return ladder.counts[:-1] < self.floor * ladder.group.size

    def _unit_costs(self) -> FloatArray:
        """Return what one unit of each group costs in the whole model, above zero."""
        top = self._top
        slacks = self.costs.slack(self._moved(top, np.flatnonzero(top), -1))
        costs = np.full(len(top), np.inf)
        units = [np.diff(ladder.counts)[-1] for ladder in self.ladders if ladder.steps]
        costs[top > 0] = (slacks - self._slack(top)) / units
        floored: FloatArray = np.maximum(costs, np.finfo(np.float64).tiny)
        return floored

    def _moved(self, rungs: IntArray, groups: IntArray, by: int) -> IntArray:
        """Return one row of counts for each of some groups: in it, that group alone is moved."""
        rows = np.repeat(self._counts(rungs)[None], len(groups), axis=0)
        for row, group in enumerate(groups):
            rows[row, group] = self.ladders[group].counts[rungs[group] + by]
        return rows

    def _worth_above(self, rungs: IntArray, groups: IntArray) -> FloatArray:
        return np.array([self.ladders[group].worth[rungs[group]] for group in groups])

    def _fill(self, rungs: IntArray, much: float) -> Allocation:
        """Add steps back while one fits.

        A group gets a second step only when no other group can use the room and more than ``much``
        is left: an even plan is a fast plan.
        """
        rungs, slack = rungs.copy(), self._slack(rungs)
        top, base = self._top, rungs.copy()
        while slack > FULL:
            groups = np.flatnonzero((rungs < top) & (rungs == base))
            added = self._add_best(rungs, groups, slack)
            if added is not None:
                slack = added
            elif slack > much and (rungs != base).any():
                base = rungs.copy()
            else:
                break
        return Allocation(rungs, slack)

    def _add_best(self, rungs: IntArray, groups: IntArray, slack: float) -> float | None:
        """Climb the best step that fits, in place, and return the slack, or None if none fits.

        Best is, in a uniform scope, the step of the lowest keep ratio; then the highest importance
        per cost.
        """
        if not len(groups):
            return None
        slacks = self.costs.slack(self._moved(rungs, groups, +1))
        fits = np.flatnonzero(slacks >= 0)
        if not len(fits):
            return None
        spent = np.maximum(slack - slacks[fits], np.finfo(np.float64).tiny)
        density = self._worth_above(rungs, groups[fits]) / spent
        level = np.zeros(len(fits))
        if self.scope == "uniform":
            pairs = [(self.ladders[int(g)], rungs[g]) for g in groups[fits]]
            level = np.array([ladder.levels[rung] for ladder, rung in pairs])
        best = fits[np.lexsort((-density, level))[0]]
        rungs[groups[best]] += 1
        return float(slacks[best])

    def _exchange(self, allocation: Allocation) -> Allocation:
        """Take one step away and add another while that brings the cost closer to the bound."""
        for _ in range(_EXCHANGES):
            if allocation.slack <= AIM:
                break
            better = self._best_exchange(allocation)
            if better is None:
                break
            allocation = self._fill(better, AIM)
        return allocation

    def _best_exchange(self, allocation: Allocation) -> IntArray | None:
        rungs = allocation.rungs
        down, up = np.flatnonzero(rungs > 0), np.flatnonzero(rungs < self._top)
        spared = [self._below_floor(self.ladders[int(g)])[rungs[g] - 1] for g in down]
        down = down[~np.array(spared, dtype=bool)]
        if not len(down) or not len(up):
            return None
        gained = self.costs.slack(self._moved(rungs, down, -1))
        left = self.costs.slack(self._moved(rungs, up, +1))
        # Adding the two changes up is close enough to rank the pairs; the best are then computed.
        predicted = gained[:, None] + left[None, :] - allocation.slack
        predicted[down[:, None] == up[None, :]] = np.inf
        distance = np.where(predicted < 0, -4 * predicted, predicted)
        nearest = np.argsort(distance, axis=None, kind="stable")[:_PAIRS]
        lower, higher = np.unravel_index(nearest, distance.shape)
        rows = self._moved(rungs, up[higher], +1)
        for row, group in enumerate(down[lower]):
            rows[row, group] = self.ladders[group].counts[rungs[group] - 1]
        slacks = self.costs.slack(rows)
        slacks[(slacks < 0) | (down[lower] == up[higher])] = np.inf
        best = int(np.argmin(slacks))
        if not slacks[best] < allocation.slack - FULL:
            return None
        rungs = rungs.copy()
        rungs[down[lower[best]]] -= 1
        rungs[up[higher[best]]] += 1
        return rungs

    def _try_all(self, allocation: Allocation) -> Allocation:
        """Return the most important of all combinations in the window, or the closest one."""
        sizes = self._top + 1
        if np.prod(sizes.astype(np.float64)) > _COMBINATIONS:
            return allocation
        grid = np.indices(tuple(sizes)).reshape(len(sizes), -1).T
        counts = np.stack(
            [ladder.counts[grid[:, i]] for i, ladder in enumerate(self.ladders)], axis=1
        )
        slacks = self.costs.slack(counts)
        inside = np.flatnonzero((slacks >= 0) & (slacks < WINDOW))
        if not len(inside):
            fitting = np.where(slacks >= 0, slacks, np.inf)
            best = int(np.argmin(fitting))
            return Allocation(grid[best], float(slacks[best]))
        worth, starved = np.zeros(len(inside)), np.zeros(len(inside))
        for i, ladder in enumerate(self.ladders):
            rungs = grid[inside, i]
            worth += np.concatenate([[0.0], np.cumsum(ladder.worth)])[rungs]
            starved += np.concatenate([self._below_floor(ladder), [False]])[rungs]
        best = int(inside[np.lexsort((-worth, starved))[0]])
        return Allocation(grid[best], float(slacks[best]))
