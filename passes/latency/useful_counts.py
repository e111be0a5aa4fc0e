"""Useful counts: channel counts of a group that run faster than every larger count.

Latency is a staircase whose steps differ between kernels and machines: below a step a narrower
group loses channels and wins nothing, and beside the runtime's layout it even takes longer. What
the cost table says about the kernels of a group decides which counts are worth choosing from.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compressc.array_types import IntArray
from compressc.latency.latency_model import LatencyModel
from compressc.passes.widths.ladders import Ladder

# A gain below this share of what the group's kernels take is noise.
_GAIN = 0.002
# Counts looked at per group: single channels where there are few, blocks where there are many.
_MOST = 64
_BLOCK = 16


def with_useful_counts(ladder: Ladder, model: LatencyModel, place: int) -> Ladder:
    """Return the ladder without counts that are no faster than a wider one.

    Args:
        ladder: of one group, at the finest step it may have.
        model: of the network's latency; the other groups are taken at full width.
        place: of the group among those of the model.
    """
    looked_at = _candidates(ladder.counts)
    counts = model.sizes.copy()
    terms = model.touched[place]
    useful: list[int] = []
    least = np.inf
    for rung in looked_at[::-1]:
        counts[place] = ladder.counts[rung]
        taken = model.partial_ms(terms, counts)
        if not useful or taken < least * (1 - _GAIN):
            useful.append(int(rung))
            least = taken
    return _only(ladder, np.array(useful[::-1], dtype=np.int64))


def _candidates(counts: IntArray) -> IntArray:
    """Return the rungs to look at: multiples of a step, and the full size."""
    step = 1
    while step < _BLOCK and counts[-1] > _MOST * step:
        step *= 2
    looked_at = counts % step == 0
    looked_at[-1] = True
    return np.flatnonzero(looked_at)


def _only(ladder: Ladder, rungs: IntArray) -> Ladder:
    """Return the ladder with some of its rungs, the last of which is the full size."""
    climbed = np.concatenate([[0.0], np.cumsum(ladder.worth)])
    return replace(ladder, counts=ladder.counts[rungs], worth=np.diff(climbed[rungs]))
