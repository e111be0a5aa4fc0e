"""Ladders: the channel counts at which a group may stop, and what each step is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressc.axes import IntArray
from compressc.groups import ChannelGroup
from compressc.passes.bundling import bundle
from compressc.passes.importance import FloatArray


@dataclass(frozen=True, eq=False)
class Ladder:
    """One group's allowed counts, lowest first, and the order in which its units leave.

    Step ``i`` climbs from ``counts[i]`` to ``counts[i + 1]``.

    Attributes:
        group: the group.
        order: units, the first to leave first, shape (units,).
        counts: allowed counts ascending, the last is the group's size, shape (rungs,).
        worth: importance of the units that each step keeps, shape (rungs - 1,).
    """

    group: ChannelGroup
    order: IntArray
    counts: IntArray
    worth: FloatArray

    @property
    def steps(self) -> int:
        """Number of steps from the lowest count to the full size."""
        return len(self.worth)

    @property
    def importance_of_steps(self) -> FloatArray:
        """Mean importance of each step's units, never rising on the way up; shape (steps,)."""
        means = self.worth / np.diff(self.counts)
        return np.minimum.accumulate(means)

    @property
    def levels_of_steps(self) -> FloatArray:
        """Keep ratio at which each step is nearer than the count below it; shape (steps,)."""
        return (self.counts[:-1] + self.counts[1:]) / (2.0 * self.group.size)

    def rung_at(self, ratio: float) -> int:
        """Return the rung whose count is nearest to ``ratio`` of the size, the higher on a tie."""
        return int(np.searchsorted(self.levels_of_steps, ratio, side="right"))

    def mask(self, rung: int) -> NDArray[np.bool_]:
        """Return which units stay at a rung, shape (units,)."""
        mask = np.ones(self.group.size, dtype=bool)
        mask[self.order[: self.group.size - int(self.counts[rung])]] = False
        return mask


def build_ladder(group: ChannelGroup, importance: FloatArray) -> Ladder:
    """Return the ladder of a group for the given importance of its units, shape (units,).

    Allowed are multiples of ``group.multiple_of`` from ``group.minimum`` up at which every
    partition is balanced, and the full size; none at all only where the minimum is 0.
    """
    bundles = bundle(importance, group.partitions)
    order = np.concatenate(bundles)
    left = group.size - np.cumsum([len(units) for units in bundles])
    lowest = group.minimum
    allowed = left[(left % group.multiple_of == 0) & (left >= lowest)]
    counts = np.concatenate([allowed[::-1], [group.size]]).astype(np.int64)
    gone = np.concatenate([[0.0], np.cumsum(importance[order])])
    kept = gone[-1] - gone[group.size - counts]
    return Ladder(group, order, counts, np.diff(kept))
