"""Channel ids: joining, freezing, factors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressc.channels.axes import (
    Factor,
    IdSpace,
    concatenate,
    exactly,
    is_labelled,
    join_axes,
    labelled,
    plain,
    size_of,
    spread,
)
from compressc.channels.kept import Kept


def _reasons(space: IdSpace, ids: np.ndarray) -> list[str | None]:
    solution = space.solve()
    found = solution.reason_of[solution.class_of[ids]]
    return [None if reason < 0 else solution.reasons[reason] for reason in found]


def _same(space: IdSpace, left: int, right: int) -> bool:
    class_of = space.solve().class_of
    return bool(class_of[left] == class_of[right])


def test_joins_are_transitive_and_leave_others_alone() -> None:
    space = IdSpace()
    a, b, c = space.fresh(3), space.fresh(3), space.fresh(3)
    space.join(a, b)
    space.join(b, c[::-1].copy())
    assert _same(space, a[0], c[2])
    assert _same(space, a[2], c[0])
    assert not _same(space, a[0], a[1])
    assert space.solve().class_of.max() == 2


def test_a_frozen_id_pins_its_whole_class_with_the_first_reason() -> None:
    space = IdSpace()
    a, b = space.fresh(2), space.fresh(2)
    space.freeze(b[:1], "first")
    space.freeze(a[:1], "second")
    space.join(a, b)
    assert _reasons(space, a) == ["first", None]
    assert _reasons(space, b) == ["first", None]


def test_joining_ids_of_different_counts_is_refused() -> None:
    space = IdSpace()
    with pytest.raises(ValueError, match="cannot join"):
        space.join(space.fresh(2), space.fresh(3))
    with pytest.raises(ValueError, match="factor of size 2"):
        Factor(2, np.arange(3))


@settings(max_examples=50)
@given(
    count=st.integers(1, 12),
    pairs=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15),
    frozen=st.sets(st.integers(0, 11)),
)
def test_solving_equals_naive_merging(
    count: int, pairs: list[tuple[int, int]], frozen: set[int]
) -> None:
    space = IdSpace()
    ids = space.fresh(count)
    naive = [{i} for i in range(count)]
    for left, right in pairs:
        if left < count and right < count:
            space.join(ids[left : left + 1], ids[right : right + 1])
            merged = naive[left] | naive[right]
            for member in merged:
                naive[member] = merged
    for one in frozen:
        if one < count:
            space.freeze(ids[one : one + 1], "pinned")
    solution = space.solve()
    for i in range(count):
        together = {j for j in range(count) if solution.class_of[j] == solution.class_of[i]}
        assert together == naive[i]
        pinned = solution.reason_of[solution.class_of[i]] >= 0
        assert pinned == bool(frozen & naive[i])


def test_an_axis_of_one_position_is_labelled_only_on_demand() -> None:
    assert not is_labelled(labelled(np.array([4])))
    assert is_labelled(exactly(np.array([4])))
    assert size_of((Factor(3), Factor(4), Factor(1))) == 12


def test_spread_follows_row_major_order() -> None:
    axis = (Factor(2), Factor(3, np.array([7, 8, 9])), Factor(2))
    assert spread(axis, 1).tolist() == [7, 7, 8, 8, 9, 9] * 2
    with pytest.raises(ValueError, match="no ids"):
        spread(axis, 0)


@settings(max_examples=50)
@given(sizes=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=4))
def test_kept_positions_are_those_whose_every_factor_stays(sizes: list[tuple[int, bool]]) -> None:
    space = IdSpace()
    axis = tuple(Factor(size, space.fresh(size) if prunable else None) for size, prunable in sizes)
    classes = np.random.default_rng(0).random(max(space.count, 1)) < 0.6
    kept = Kept(np.arange(max(space.count, 1)), classes)
    expected = np.ones(size_of(axis), dtype=bool)
    for index, factor in enumerate(axis):
        if factor.ids is not None:
            expected &= classes[spread(axis, index)]
    assert (kept.mask(axis) == expected).all()
    assert kept.count(axis) == expected.sum()
    assert kept.whole(axis) == expected.all()


def test_flat_pins_all_but_the_longest_factor() -> None:
    space = IdSpace()
    short, long = space.fresh(2), space.fresh(3)
    flat = space.flat((Factor(2, short), Factor(3, long)), "two factors")
    assert flat is not None
    assert flat.tolist() == [*long, *long]
    assert _reasons(space, short) == ["two factors"] * 2
    assert _reasons(space, long) == [None] * 3
    assert space.flat(plain(4), "nothing") is None


def test_joining_with_a_plain_axis_pins() -> None:
    space = IdSpace()
    ids = space.fresh(4)
    join_axes(space, labelled(ids), plain(4), "mul")
    assert (
        _reasons(space, ids)
        == ["mul couples these channels with an axis of size 4 that cannot be pruned"] * 4
    )


def test_joining_axes_of_equal_factors_couples_position_by_position() -> None:
    space = IdSpace()
    left, right = space.fresh(3), space.fresh(3)
    joined = join_axes(space, (Factor(2), Factor(3, left)), (Factor(2), Factor(3, right)), "add")
    assert size_of(joined) == 6
    assert _same(space, left[1], right[1])
    assert _reasons(space, left) == [None] * 3


def test_a_factor_that_only_one_side_can_prune_is_pinned() -> None:
    space = IdSpace()
    outer, inner, other = space.fresh(2), space.fresh(3), space.fresh(3)
    join_axes(space, (Factor(2, outer), Factor(3, inner)), (Factor(2), Factor(3, other)), "add")
    assert all(_reasons(space, outer))
    assert _reasons(space, inner) == [None] * 3


def test_two_ways_of_splitting_an_axis_meet_flat() -> None:
    space = IdSpace()
    left, right = space.fresh(6), space.fresh(3)
    join_axes(space, labelled(left), (Factor(2), Factor(3, right)), "add")
    assert _same(space, left[0], left[3])
    assert not _same(space, left[0], left[1])


def test_concatenation_keeps_order_and_pins_plain_parts() -> None:
    space = IdSpace()
    ids = space.fresh(2)
    (factor,) = concatenate(space, [plain(3), labelled(ids)], "cat")
    assert factor.ids is not None
    assert factor.ids[3:].tolist() == ids.tolist()
    assert (
        _reasons(space, factor.ids[:3]) == ["cat concatenates channels that cannot be pruned"] * 3
    )
    (joined,) = concatenate(space, [plain(3), plain(2)], "cat")
    assert (joined.size, joined.ids) == (5, None)
