"""What plans cost a search, against what is left in lowered networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import compressc
from compressc.coupling.graph import couple
from compressc.coupling.priced_costs import price_plan
from compressc.coupling.weight_masks import contracted_weights
from compressc.plan import Plan
from compressc.target import Target
from compressc.zero_price import DENSE, SPARSE, ZeroPrice
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
    assert price_plan(couple(program), plan, SPARSE) == couple(program).cost(plan)


def test_dense_kernels_pay_for_zeros_as_for_any_number():
    program, _ = trained()
    plan = Plan(zero=zeros(0))
    assert price_plan(couple(program), plan, DENSE) == couple(program).cost(plan)
    assert Target().zero_price == DENSE
    half = ZeroPrice(macs=0.5, params=1.0, mask_bits=None)
    dense, sparse = (couple(program).cost(plan), price_plan(couple(program), plan, SPARSE))
    between = price_plan(couple(program), plan, half)
    assert abs(between.macs - (dense.macs + sparse.macs) / 2) <= 1
    assert (between.params, between.size_bytes) == (dense.params, dense.size_bytes)


@pytest.mark.parametrize("pruned", [False, True])
def test_zeros_are_no_parameters(pruned):
    program, _ = trained()
    plan = replace(random_plan(couple(program), 1) if pruned else Plan(), zero=zeros(0))
    lowered = compressc.lower(program.with_plan(plan))
    left = sum(int(p.count_nonzero()) for p in lowered.graph_module.parameters())
    # Parameters that happen to be zero without a mask are counted, biases of convolutions say.
    chance = sum(int((p == 0).sum()) for p in program.graph_module.parameters())
    assert chance == 0
    assert price_plan(couple(program), plan, SPARSE).params == left


def test_zeros_take_no_macs():
    program, _ = trained()
    masks = zeros(2)
    whole = {row.name: row.macs for row in couple(program).layers(Plan())}
    expected = sum(whole[name.rpartition(".")[0]] * mask.mean() for name, mask in masks.items())
    cost = price_plan(couple(program), Plan(zero=masks), SPARSE)
    assert cost.macs == pytest.approx(expected, abs=1)
    assert cost.macs < 0.5 * sum(whole.values())


def test_zeros_take_a_bit_each():
    program, _ = trained()
    full = couple(program).cost(Plan())
    name = "b.weight"
    size = program.state()[name].numel()
    nothing = Plan(zero={name: np.zeros(tuple(program.state()[name].shape), dtype=bool)})
    everything = Plan(zero={name: np.ones(tuple(program.state()[name].shape), dtype=bool)})
    assert full.size_bytes - price_plan(couple(program), nothing, SPARSE).size_bytes == round(
        4 * size - size / 8
    )
    assert price_plan(couple(program), everything, SPARSE) == full
