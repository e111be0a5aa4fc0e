from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressc.errors import RuleError
from compressc.passes.widths.bundling import bundle


def test_without_partitions_units_leave_one_by_one_from_the_least_important():
    found = bundle(np.array([3.0, 1.0, 2.0]), ())
    assert [units.tolist() for units in found] == [[1], [2], [0]]


def test_one_partition_bundles_the_lowest_of_each_label():
    labels = np.array([0, 0, 0, 1, 1, 1])
    found = bundle(np.array([3.0, 1.0, 2.0, 10.0, 30.0, 20.0]), (labels,))
    assert [sorted(units.tolist()) for units in found] == [[1, 3], [2, 5], [0, 4]]


def test_two_partitions_take_the_cheapest_matching_first():
    rng = np.random.default_rng(1)
    left = np.repeat(np.arange(4), 4)
    right = np.tile(np.arange(4), 4)
    importance = rng.random(16)
    cheapest = min(
        sum(importance[4 * i + j] for i, j in enumerate(order)) for order in permutations(range(4))
    )
    assert importance[bundle(importance, (left, right))[0]].sum() == pytest.approx(cheapest)


def test_equal_partitions_with_other_label_numbers_count_as_one():
    labels = np.array([0, 0, 1, 1])
    assert len(bundle(np.arange(4.0), (labels, 1 - labels))) == 2


def test_a_partition_that_is_unbalanced_from_the_start_is_refused():
    with pytest.raises(RuleError, match="unequal sizes"):
        bundle(np.arange(3.0), (np.array([0, 0, 1]),))


def test_positions_that_do_not_balance_leave_only_all_or_nothing():
    labels = (
        np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        np.array([0, 1, 0, 1, 1, 0, 1, 0]),
        np.array([0, 1, 1, 0, 0, 1, 1, 0]),
    )
    found = bundle(np.arange(8.0), labels)
    assert sorted(np.concatenate(found).tolist()) == list(range(8))


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.sampled_from([2, 3, 4, 6, 12]), min_size=1, max_size=3),
    shuffled=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_prefix_of_bundles_leaves_every_partition_balanced(counts, shuffled, seed):
    rng = np.random.default_rng(seed)
    partitions = []
    for index, count in enumerate(counts):
        labels = np.repeat(np.arange(count), 24 // count)
        partitions.append(rng.permutation(labels) if shuffled and index else labels)
    bundles = bundle(rng.random(24), tuple(partitions))
    left = np.ones(24, dtype=bool)
    for units in bundles:
        assert left[units].all()
        left[units] = False
        for labels in partitions:
            kept = np.bincount(labels[left], minlength=labels.max() + 1)
            assert kept.min() == kept.max()
    assert not left.any()
