"""What plans cost a search, against what is left in lowered networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import compressc
from compressc.coupling.graph import couple
from compressc.coupling.weight_masks import contracted_weights
from compressc.plan import Plan
from compressc.search.plan_costs import PlanCosts
from tests.plans import random_plan
from tests.search_kit import trained


def zeros(seed: int, share: float = 0.6) -> dict[str, np.ndarray]:
    program, _ = trained()
    rng = np.random.default_rng(seed)
    tensors = couple(program).propagation.tensors
    return {
        name: rng.random(tuple(tensors[name].shape)) > share
        for name in contracted_weights(couple(program))
    }


def test_without_zeros_it_is_the_cost_that_the_driver_verifies():
    program, _ = trained()
    plan = replace(random_plan(couple(program), 3), rank={"fc": (2,)})
    plan = couple(program).fit_ranks(plan)
    assert PlanCosts(couple(program)).cost(plan) == couple(program).cost(plan)


@pytest.mark.parametrize("pruned", [False, True])
def test_zeros_are_no_parameters(pruned):
    program, _ = trained()
    plan = replace(random_plan(couple(program), 1) if pruned else Plan(), zero=zeros(0))
    lowered = compressc.lower(program.with_plan(plan))
    left = sum(int(p.count_nonzero()) for p in lowered.graph_module.parameters())
    # Parameters that happen to be zero without a mask are counted, biases of convolutions say.
    chance = sum(int((p == 0).sum()) for p in program.graph_module.parameters())
    assert chance == 0
    assert PlanCosts(couple(program)).cost(plan).params == left


def test_zeros_take_no_macs():
    program, _ = trained()
    masks = zeros(2)
    whole = {row.name: row.macs for row in couple(program).layers(Plan())}
    expected = sum(whole[name.rpartition(".")[0]] * mask.mean() for name, mask in masks.items())
    cost = PlanCosts(couple(program)).cost(Plan(zero=masks))
    assert cost.macs == pytest.approx(expected, abs=1)
    assert cost.macs < 0.5 * sum(whole.values())


def test_zeros_take_a_bit_each():
    program, _ = trained()
    full = couple(program).cost(Plan())
    name = "b.weight"
    size = program.state()[name].numel()
    nothing = Plan(zero={name: np.zeros(tuple(program.state()[name].shape), dtype=bool)})
    everything = Plan(zero={name: np.ones(tuple(program.state()[name].shape), dtype=bool)})
    costs = PlanCosts(couple(program))
    assert full.size_bytes - costs.cost(nothing).size_bytes == round(4 * size - size / 8)
    assert costs.cost(everything) == full
