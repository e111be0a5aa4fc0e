from __future__ import annotations

import numpy as np
import pytest

from compressc.coupling.groups import ChannelGroup
from compressc.passes.widths.ladders import build_ladder


def group(size: int, multiple_of: int, minimum: int = 1, partitions=()) -> ChannelGroup:
    return ChannelGroup("g", size, (), multiple_of, minimum, partitions, np.arange(size), None)


@pytest.mark.parametrize(
    ("size", "multiple_of", "minimum", "counts"),
    [
        (64, 16, 1, [16, 32, 48, 64]),
        (24, 16, 1, [16, 24]),
        (8, 16, 1, [8]),
        (32, 16, 0, [0, 16, 32]),
        (3, 1, 1, [1, 2, 3]),
        (40, 16, 20, [32, 40]),
    ],
)
def test_allowed_counts(size, multiple_of, minimum, counts):
    ladder = build_ladder(group(size, multiple_of, minimum), np.ones(size))
    assert ladder.counts.tolist() == counts


def test_partitions_widen_the_steps():
    labels = np.repeat(np.arange(3), 4)
    ladder = build_ladder(group(12, 2, partitions=(labels,)), np.ones(12))
    assert ladder.counts.tolist() == [6, 12]


def test_masks_keep_the_most_important_units():
    importance = np.array([5.0, 1.0, 4.0, 2.0])
    ladder = build_ladder(group(4, 2), importance)
    assert ladder.mask(0).tolist() == [True, False, True, False]
    assert ladder.mask(1).all()
    assert ladder.worth.tolist() == [3.0]


def test_the_nearest_count_is_chosen_for_a_ratio():
    ladder = build_ladder(group(64, 16), np.ones(64))
    assert [int(ladder.counts[ladder.rung_at(r)]) for r in (0.1, 0.6, 0.63, 0.9, 1.0)] == [
        16,
        32,
        48,
        64,
        64,
    ]


def test_priorities_never_rises_on_the_way_up():
    labels = np.tile(np.arange(2), 4)
    importance = np.array([0.0, 9.0, 1.0, 8.0, 2.0, 0.5, 7.0, 3.0])
    ladder = build_ladder(group(8, 2, partitions=(labels,)), importance)
    assert (np.diff(ladder.priorities) <= 0).all()


def test_a_memory_bound_group_gives_up_more_channels_for_the_same_level():
    plain = build_ladder(group(64, 16), np.ones(64))
    bound = build_ladder(group(64, 16), np.ones(64), intensity=1.5)
    assert plain.levels.tolist() == [0.375, 0.625, 0.875]
    assert 1 - bound.levels == pytest.approx((1 - plain.levels) / 1.5)
    assert bound.priorities.tolist() == plain.priorities.tolist()
    assert bound.rung_at(0.5) == plain.rung_at(0.5)
