"""Ladders: the channel counts at which a group may stop, and what each step is worth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from compressc.array_types import FloatArray, IntArray
from compressc.coupling.groups import ChannelGroup
from compressc.passes.widths.bundling import bundle


@dataclass(frozen=True, eq=False)
class Ladder:
    """One group's allowed counts, lowest first, and the order in which its units leave.

    Rung ``i`` climbs from ``counts[i]`` to ``counts[i + 1]``.

    Attributes:
        group: the group.
        intensity: time per MAC that its units save, 1 is average; see ``measure_intensity``.
        order: units, the first to leave first, shape (units,).
        counts: allowed counts ascending, the last is the group's size, shape (rungs,).
        worth: importance of the units that each step keeps, shape (rungs - 1,).
    """

    group: ChannelGroup
    intensity: float
    order: IntArray
    counts: IntArray
    worth: FloatArray

    @property
    def steps(self) -> int:
        """Number of steps from the lowest count to the full size."""
        return len(self.worth)

    @property
    def priorities(self) -> FloatArray:
        """Mean importance of each step's units, never rising on the way up; shape (steps,)."""
        means = self.worth / np.diff(self.counts)
        return np.minimum.accumulate(means)

    @property
    def levels(self) -> FloatArray:
        """How small the whole model must become before each step is given up.

        When the model as a whole is to lose a share of its channels, this group loses that share
        times its intensity. A level is the share that the model then keeps, and at which the count
        below the step is as near as the count above it.

        Shape:
            (steps,).
        """
        return 1 - (1 - self._middles) / self.intensity

    def rung_at(self, ratio: float) -> int:
        """Return the rung whose count is nearest to ``ratio`` of the size, the higher on a tie."""
        return int(np.searchsorted(self._middles, ratio, side="right"))

    @cached_property
    def _middles(self) -> FloatArray:
        middles: FloatArray = (self.counts[:-1] + self.counts[1:]) / (2.0 * self.group.size)
        return middles

    def mask(self, rung: int) -> NDArray[np.bool_]:
        """Return which units stay at a rung, shape (units,)."""
        mask = np.ones(self.group.size, dtype=bool)
        mask[self.order[: self.group.size - int(self.counts[rung])]] = False
        return mask


def build_ladder(group: ChannelGroup, importance: FloatArray, intensity: float = 1.0) -> Ladder:
    """Return the ladder of a group for the given importance of its units, shape (units,).

    Allowed are multiples of ``group.multiple_of`` from ``group.minimum`` up at which every
    partition is balanced, and the full size; none at all only where the minimum is 0.
    """
    bundles = bundle(importance, group.partitions)
    order = np.concatenate(bundles)
    left = group.size - np.cumsum([len(units) for units in bundles])
    allowed = left[(left % group.multiple_of == 0) & (left >= group.minimum)]
    counts = np.concatenate([allowed[::-1], [group.size]]).astype(np.int64)
    gone = np.concatenate([[0.0], np.cumsum(importance[order])])
    kept = gone[-1] - gone[group.size - counts]
    return Ladder(group, intensity, order, counts, np.diff(kept))


def sparing_mask(
    group: ChannelGroup, importance: FloatArray, living: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the smallest allowed mask that keeps every living unit, shape (units,).

    Args:
        group: the group.
        importance: of each unit, shape (units,); living ones should have more than the others.
        living: which units must stay, shape (units,).
    """
    ladder = build_ladder(group, importance)
    for rung in range(len(ladder.counts)):
        mask = ladder.mask(rung)
        if not (~mask & living).any():
            return mask
    return np.ones(group.size, dtype=bool)
