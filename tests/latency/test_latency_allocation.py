"""The allocator against brute force, and the promises it makes about the staircase."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compressc.coupling.graph import couple
from compressc.latency.latency_model import LatencyModel, build_latency_model
from compressc.passes.latency.knapsack import LatencyAllocator, Scope, losses_of
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.widths.ladders import Ladder, build_ladder
from compressc.runtime.cost_table import CostTable
from tests.latency.conftest import build_program, formula_table, full_kernels


def allocator_of(
    name: str, scope: Scope = "uniform", table: CostTable | None = None
) -> LatencyAllocator:
    program, kernels = build_program(name), full_kernels(name)
    model = build_latency_model(couple(program), kernels, table or formula_table(kernels))
    importance = measure_feature(program, "l2")
    ladders = [build_ladder(couple(program).group(g), importance[g]) for g in model.groups]
    weights = [model.partial_ms(model.touched[i], model.sizes) for i in range(len(ladders))]
    losses = [losses_of(one, scope, w) for one, w in zip(ladders, weights, strict=True)]
    return LatencyAllocator(ladders, losses, model, np.zeros(len(ladders), dtype=np.int64))


def best_by_force(one: LatencyAllocator, target_ms: float) -> float:
    losses = []
    for rungs in itertools.product(*(range(ladder.steps + 1) for ladder in one.ladders)):
        counts = np.array([ladder.counts[r] for ladder, r in zip(one.ladders, rungs, strict=True)])
        if one.model.latency_ms(counts) <= target_ms:
            losses.append(sum(float(loss[r]) for loss, r in zip(one.losses, rungs, strict=True)))
    return min(losses)


def loss_of(one: LatencyAllocator, rungs: np.ndarray) -> float:
    return sum(float(loss[r]) for loss, r in zip(one.losses, rungs, strict=True))


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5, 0.3, 0.15])
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_it_comes_close_to_the_best_of_all_plans(name: str, scope: Scope, share: float) -> None:
    one = allocator_of(name, scope)
    full = one.model.latency_ms(one.model.sizes)
    found = one.allocate(share * full)
    if found is None:
        assert one.fastest().latency_ms > share * full
        return
    assert found.latency_ms <= share * full
    worst = sum(float(loss.max()) for loss in one.losses)
    # A tenth of the way between losing nothing and losing all that can be lost.
    assert loss_of(one, found.rungs) <= best_by_force(one, share * full) + 0.1 * worst


def test_a_target_that_holds_already_removes_nothing() -> None:
    one = allocator_of("residual")
    found = one.allocate(2 * one.model.latency_ms(one.model.sizes))
    assert found is not None
    assert found.rungs.tolist() == [ladder.steps for ladder in one.ladders]


def test_what_cannot_be_reached_is_said() -> None:
    one = allocator_of("residual")
    least = one.fastest().latency_ms
    assert one.allocate(0.99 * least) is None
    found = one.allocate(least)
    assert found is not None
    assert found.latency_ms <= least


def test_no_group_gets_a_width_that_a_wider_one_matches() -> None:
    """The staircase: all counts but the smallest of each kind take as long as the largest."""
    table = formula_table(full_kernels("residual"))
    for cells in table.cells.values():
        slow = max(cells.values())
        for widths in cells:
            if len(widths) == 2 and min(widths) > 16:
                cells[widths] = slow  # type: ignore[index]
    one = allocator_of("residual", table=table)
    found = one.allocate(0.7 * one.model.latency_ms(one.model.sizes))
    assert found is not None
    counts = np.array(
        [ladder.counts[rung] for ladder, rung in zip(one.ladders, found.rungs, strict=True)]
    )
    for place, ladder in enumerate(one.ladders):
        if found.rungs[place] < ladder.steps:
            wider = counts.copy()
            wider[place] = ladder.counts[found.rungs[place] + 1]
            assert one.model.latency_ms(wider) > one.model.latency_ms(counts)


def test_the_lowest_rungs_are_respected() -> None:
    free = allocator_of("residual")
    lowest = np.array([min(1, ladder.steps) for ladder in free.ladders])
    one = LatencyAllocator(free.ladders, free.losses, free.model, lowest)
    found = one.allocate(1.001 * one.fastest().latency_ms)
    assert found is not None
    assert (found.rungs >= lowest).all()


def ladder_of() -> Ladder:
    return max(allocator_of("residual").ladders, key=lambda one: one.steps)


def test_uniform_losses_grow_faster_the_less_is_left() -> None:
    ladder = ladder_of()
    losses = losses_of(ladder, "uniform", 1.0)
    steps = -np.diff(losses)
    assert losses[-1] == 0
    assert (steps > 0).all()
    assert (np.diff(steps) < 0).all()
    assert losses_of(ladder, "uniform", 3.0) == pytest.approx(3 * losses)


def test_global_losses_are_the_importance_that_leaves() -> None:
    ladder = ladder_of()
    losses = losses_of(ladder, "global", 1.0)
    assert losses[-1] == pytest.approx(0)
    assert -np.diff(losses) == pytest.approx(ladder.worth)


def test_a_group_without_choice_loses_nothing() -> None:
    model: LatencyModel = allocator_of("residual").model
    assert len(model.groups) == len(model.sizes)
    ladder = ladder_of()
    alone = Ladder(ladder.group, 1.0, ladder.order, ladder.counts[-1:], np.zeros(0))
    assert losses_of(alone, "uniform", 1.0).tolist() == [0.0]
    assert losses_of(alone, "global", 1.0).tolist() == [0.0]
