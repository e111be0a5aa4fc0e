"""Thresholds on factors are swept until the result is as small as it is meant to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from compressc.bounds import Bounds
from compressc.coupling.graph import cost_of, couple
from compressc.goal import Goal
from compressc.passes.snn.aims import share_of_way, switch
from compressc.passes.snn.bounds_aim import BoundsAim
from compressc.passes.snn.folding import fold_factors
from compressc.passes.snn.settings import Mode
from compressc.passes.snn.sparsity_aim import SparsityAim
from compressc.passes.snn.switched_layers import find_switched_layers
from compressc.plan import Plan
from compressc.program import Constraints
from tests.snn.snn_kit import make_program

TOTAL = 12 * 20 + 20 * 16 + 16 * 4


def pictures(mode: Mode, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(12, 20), (20, 16), (16, 4)]
    if mode == "neuron":
        shapes = [(rows, 1) for rows, _ in shapes]
    return [torch.rand(shape, generator=generator) + 0.1 for shape in shapes]


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.84, 0.95])
def test_sparsity_is_reached_to_the_weight(sparsity: float) -> None:
    program = make_program()
    layers, _ = find_switched_layers(program, "fc", "connection")
    factors = pictures("connection")
    masks = SparsityAim(program, sparsity, layers).masks(factors, 1.0)
    off = sum(int((~mask).sum()) for mask in masks)
    assert off == np.ceil(sparsity * TOTAL)
    # One threshold: nothing that stays is below anything that is off, but for what is spared.
    highest_off = max(float(f[~m].max()) for f, m in zip(factors, masks, strict=True) if (~m).any())
    below = sum(int((f[m] < highest_off).sum()) for f, m in zip(factors, masks, strict=True))
    assert below <= 0.1 * (1 - sparsity) * TOTAL + 3


def test_sparsity_in_the_neuron_mode_counts_weights() -> None:
    program = make_program()
    layers, _ = find_switched_layers(program, "fc", "neuron")
    masks = SparsityAim(program, 0.5, layers).masks(pictures("neuron"), 1.0)
    inputs, first, second = (int(mask.sum()) for mask in masks)
    # A neuron that is off takes its row of the layer before along.
    left = inputs * first + first * second + second * 4
    assert 0.5 * TOTAL - 40 < left <= 0.5 * TOTAL


def test_no_layer_loses_everything_to_the_threshold() -> None:
    program = make_program()
    layers, _ = find_switched_layers(program, "fc", "connection")
    factors = pictures("connection")
    factors[2] *= 1e-3
    masks = SparsityAim(program, 0.5, layers).masks(factors, 1.0)
    assert int(masks[2].sum()) == np.ceil(0.1 * 0.5 * 64)
    kept = factors[2][masks[2]].min()
    assert (factors[2][~masks[2]] <= kept).all()


@pytest.mark.parametrize("mode", ["connection", "neuron"])
@pytest.mark.parametrize("params", [0.8, 0.5, 0.3])
@pytest.mark.parametrize("multiple", [1, 4])
def test_bounds_are_met_by_the_least_worthy_neurons(
    mode: Mode, params: float, multiple: int
) -> None:
    program = make_program().with_constraints(Constraints(multiple_of=multiple))
    layers, _ = find_switched_layers(program, "fc", mode)
    bounds = Bounds(Goal(params=params).bounds, couple(program).cost(Plan()))
    factors = pictures(mode)
    masks = BoundsAim(program, bounds, layers).masks(factors, 1.0)
    # What the network reads cannot leave, so it is not switched off in vain.
    assert masks[0].all()
    state = program.state()
    switched = [switch(f, [m])[0] for f, m in zip(factors, masks, strict=True)]
    folded = fold_factors(program, state, layers, switched)
    assert bounds.hold(cost_of(folded))
    assert all(int(mask.sum()) % multiple == 0 for mask in folded.plan.keep.values())
    if multiple == 1:
        # No neuron more than needed: the largest one leaves again when one more stays.
        assert bounds.slack(cost_of(folded)) < 40 / couple(program).cost(Plan()).params
    for f, m in zip(factors[1:], masks[1:], strict=True):
        worth = f.amax(1)
        assert multiple > 1 or worth[~m[:, 0]].max() <= worth[m[:, 0]].min()


def test_the_way_begins_at_nothing_and_ends_before_training_does() -> None:
    shares = [share_of_way(epoch, 20) for epoch in range(20)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[12:] == [1.0] * 8
    assert 0.5 < shares[4] < 0.9
    assert share_of_way(0, 1) == 0


def test_a_layer_never_loses_all_of_its_factors() -> None:
    picture = torch.tensor([[0.2, 0.0], [0.7, 0.1]])
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    factors, remark = switch(picture, [nothing])
    assert factors.tolist() == [[0, 0], [pytest.approx(0.7), 0]]
    assert remark == ""
    factors, remark = switch(torch.zeros(2, 2), [])
    assert factors.tolist() == [[1, 1], [1, 1]]
    assert "its weights stay as they are" in remark
    mask = torch.tensor([[True], [False]])
    assert switch(torch.zeros(2, 2), [mask])[0].tolist() == [[1, 1], [0, 0]]
