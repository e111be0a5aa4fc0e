from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressc.array_types import IntArray
from compressc.bounds import Bounds
from compressc.costs import Cost, Terms
from compressc.coupling.groups import ChannelGroup
from compressc.goal import Bound
from compressc.passes.widths.allocation import WINDOW, Allocator
from compressc.passes.widths.costs import CountCosts
from compressc.passes.widths.ladders import Ladder, build_ladder


def chain(sizes: list[int], target: float) -> CountCosts:
    """Cost of layers in a row: in times out, the input and output fixed at 3 and 10."""
    axes = len(sizes)
    factors: IntArray = np.array([[i - 1 if i else axes, i] for i in range(axes + 1)])
    factors[-1] = [axes - 1, axes]
    weights = np.ones(axes + 1)
    weights[0], weights[-1] = 3.0, 10.0
    constant = np.zeros(axes + 1)
    constant[-1] = 1.0
    terms = Terms(weights, factors)
    full = float(terms.values(np.array([*sizes, 1.0])).sum())
    per_unit = np.eye(axes, axes + 1)
    bounds = Bounds({"macs": Bound(target, relative=True)}, Cost(int(full), 0, 0))
    return CountCosts(constant, per_unit, {"macs": terms}, None, bounds)


def ladders_of(
    sizes: list[int], multiple_of: int, rng: np.random.Generator, minimum: int = 1
) -> list[Ladder]:
    return [
        build_ladder(
            ChannelGroup(str(i), size, (), multiple_of, minimum, (), np.arange(size), None),
            rng.random(size) + 0.1,
        )
        for i, size in enumerate(sizes)
    ]


def counts_of(ladders: list[Ladder], rungs: IntArray) -> list[int]:
    return [int(ladder.counts[rung]) for ladder, rung in zip(ladders, rungs, strict=True)]


@settings(max_examples=120, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([8, 16, 24, 32, 48, 64, 96]), min_size=1, max_size=4),
    multiple_of=st.sampled_from([1, 8, 16]),
    target=st.floats(0.05, 0.95),
    scope=st.sampled_from(["uniform", "global"]),
    floor=st.sampled_from([0.0, 0.125, 0.5]),
    seed=st.integers(0, 99),
)
def test_if_any_combination_lies_in_the_window_one_is_found(
    sizes, multiple_of, target, scope, floor, seed
):
    ladders = ladders_of(sizes, multiple_of, np.random.default_rng(seed))
    costs = chain(sizes, target)
    found = Allocator(ladders, costs, scope, floor).allocate()
    if np.prod([ladder.steps + 1.0 for ladder in ladders]) > 20_000:
        assert found is None or found.slack >= 0
        return
    grid = np.array(list(product(*(ladder.counts for ladder in ladders))))
    slacks = costs.slack(grid)
    if (slacks < 0).all():
        assert found is None
        return
    assert found is not None
    best = slacks[slacks >= 0].min()
    actual = costs.slack(np.array([counts_of(ladders, found.rungs)]))[0]
    assert found.slack == pytest.approx(actual)
    assert 0 <= actual <= WINDOW or actual == pytest.approx(best)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([48, 64, 96, 128]), min_size=3, max_size=6),
    multiple_of=st.sampled_from([1, 2]),
    targets=st.tuples(st.floats(0.1, 0.95), st.floats(0.1, 0.95)),
    seed=st.integers(0, 99),
)
def test_a_looser_goal_narrows_nothing_where_steps_are_fine(sizes, multiple_of, targets, seed):
    ladders = ladders_of(sizes, multiple_of, np.random.default_rng(seed))
    tight, loose = sorted(targets)
    widths = []
    for target in (tight, loose):
        found = Allocator(ladders, chain(sizes, target), "uniform", 0.0).allocate()
        widths.append(counts_of(ladders, found.rungs))
        if found.slack > WINDOW:
            return
    assert all(a <= b for a, b in zip(*widths, strict=True))


def test_uniform_cuts_evenly():
    sizes = [32, 64, 128, 256, 128, 64]
    ladders = ladders_of(sizes, 8, np.random.default_rng(0))
    found = Allocator(ladders, chain(sizes, 0.5), "uniform", 0.125).allocate()
    ratios = [n / size for n, size in zip(counts_of(ladders, found.rungs), sizes, strict=True)]
    assert max(ratios) - min(ratios) <= 0.32


def test_global_takes_the_units_of_little_importance_wherever_they_are():
    sizes = [64, 64, 64]
    ladders = ladders_of(sizes, 1, np.random.default_rng(0))
    weak = np.concatenate([np.full(48, 0.01), np.full(16, 4.0)])
    ladders[1] = build_ladder(ladders[1].group, weak)
    found = Allocator(ladders, chain(sizes, 0.5), "global", 0.125).allocate()
    kept = counts_of(ladders, found.rungs)
    assert kept[1] < 32
    assert min(kept[0], kept[2]) > 48


def test_the_floor_holds_until_everything_is_down_to_it():
    sizes = [64, 64, 64]
    ladders = ladders_of(sizes, 1, np.random.default_rng(0))
    ladders[1] = build_ladder(ladders[1].group, np.full(64, 1e-3))
    found = Allocator(ladders, chain(sizes, 0.4), "global", 0.25).allocate()
    assert counts_of(ladders, found.rungs)[1] >= 16
    starved = Allocator(ladders, chain(sizes, 0.03), "global", 0.25).allocate()
    assert min(counts_of(ladders, starved.rungs)) < 16


def test_groups_that_may_vanish_have_no_floor():
    rng = np.random.default_rng(0)
    weak = np.full(64, 1e-3)
    kept = []
    for minimum in (1, 0):
        ladders = [*ladders_of([64], 1, rng), *ladders_of([64], 16, rng, minimum=minimum)]
        ladders[1] = build_ladder(ladders[1].group, weak)
        found = Allocator(ladders, chain([64, 64], 0.3), "global", 0.5).allocate()
        kept.append(counts_of(ladders, found.rungs)[1])
    assert kept[1] < 32 <= kept[0]


def test_nothing_leaves_when_the_bound_holds_already():
    ladders = ladders_of([32, 32], 1, np.random.default_rng(0))
    found = Allocator(ladders, chain([32, 32], 1.5), "uniform", 0.1).allocate()
    assert counts_of(ladders, found.rungs) == [32, 32]


def test_without_ladders_the_bound_holds_or_it_does_not():
    costs = chain([16], 0.5)
    enough = Bounds({"macs": Bound(100.0, relative=False)}, costs.bounds.original)
    fixed = replace(costs, per_unit=costs.per_unit[:0], bounds=enough)
    empty = np.zeros((1, 0), dtype=np.int64)
    assert Allocator([], fixed, "uniform", 0.1).allocate() is not None
    assert fixed.slack(empty)[0] > 0


def test_planning_five_hundred_layers_takes_seconds():
    import time

    rng = np.random.default_rng(0)
    sizes = [int(size) for size in rng.choice([64, 128, 256, 512], 500)]
    for multiple_of in (1, 16):
        ladders = ladders_of(sizes, multiple_of, rng)
        started = time.perf_counter()
        found = Allocator(ladders, chain(sizes, 0.5), "global", 0.125).allocate()
        assert time.perf_counter() - started < 5
        assert 0 <= found.slack < WINDOW
