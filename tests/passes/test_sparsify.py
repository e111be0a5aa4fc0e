from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.contract.context import Context
from compressc.errors import GoalError, PlanError
from compressc.goal import Goal
from compressc.passes.magnitude import Magnitude
from compressc.passes.sparsify import Sparsify
from compressc.plan import Plan


def zeros(program: compressc.Program) -> dict[str, float]:
    return {name: 1 - mask.mean() for name, mask in program.plan.zero.items()}


def test_each_layer_loses_its_share(program_of, network):
    found = zeros(Sparsify(sparsity=0.8)(program_of(network), Context()))
    assert found
    for share in found.values():
        assert share == pytest.approx(0.8, abs=0.01)


def test_the_smallest_weights_become_zero(program_of):
    program = program_of("Plain")
    mask = Sparsify(sparsity=0.6)(program, Context()).plan.zero["b.0.weight"]
    weight = program.state()["b.0.weight"].abs().numpy()
    assert weight[~mask].max() <= weight[mask].min()


def test_first_and_last_layers_stay_dense_unless_asked(program_of):
    assert set(zeros(Sparsify()(program_of("Plain"), Context()))) == {"b.0.weight", "c.0.weight"}
    every = zeros(Sparsify(skip_first_last=False)(program_of("Plain"), Context()))
    assert set(every) == {f"{layer}.weight" for layer in ("a.0", "b.0", "c.0", "fc")}


def test_depthwise_weights_stay(program_of):
    found = zeros(Sparsify(skip_first_last=False)(program_of("Depthwise"), Context()))
    assert set(found) == {"stem.0.weight", "b.0.weight", "d.0.weight", "fc.weight"}


def test_one_threshold_for_all_layers(altered):
    def shrink(model: nn.Module) -> None:
        model.c[0].weight *= 0.2

    program = altered("Plain", shrink)
    found = Sparsify(sparsity=0.5, scope="global", skip_first_last=False)(program, Context())
    masks = found.plan.zero
    share = 1 - sum(m.sum() for m in masks.values()) / sum(m.size for m in masks.values())
    assert share == pytest.approx(0.5, abs=1e-4)
    assert zeros(found)["c.0.weight"] > 0.6 > zeros(found)["a.0.weight"]


def test_no_layer_dies_under_a_threshold_for_all(altered):
    def silence(model: nn.Module) -> None:
        model.c[0].weight *= 1e-6

    found = Sparsify(sparsity=0.9, scope="global")(altered("Plain", silence), Context())
    assert found.plan.zero["c.0.weight"].mean() == pytest.approx(0.01, abs=1e-3)


def test_kept_layers_stay_dense(program_of):
    found = Sparsify()(program_of("Residual", keep=("c.*",)), Context())
    assert "c.0.weight" not in found.plan.zero
    assert "d.0.weight" in found.plan.zero
    assert "c.0 stays dense: kept by --keep c.*" in found.history[-1].notes


def test_equal_weights_lose_exactly_the_share(altered):
    def flatten(model: nn.Module) -> None:
        model.b[0].weight.fill_(0.5)

    found = zeros(Sparsify(sparsity=0.25)(altered("Plain", flatten), Context()))
    assert found["b.0.weight"] == 0.25


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_zeros_are_counted_among_the_weights_that_stay(program_of, network, scope):
    context = Context(Goal(macs=0.5))
    pruned = Magnitude()(program_of(network), context)
    found = Sparsify(0.75, scope=scope, skip_first_last=False)(pruned, context)
    assert Plan(keep=found.plan.keep) == pruned.plan
    names = set(found.plan.zero)
    state = compressc.lower(found).state()
    weights = [state[name] for name in names]
    total = sum(weight.numel() for weight in weights)
    share = sum(int((weight == 0).sum()) for weight in weights) / total
    assert share == pytest.approx(0.75, abs=0.005)


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_that_is_none_is_refused(sparsity):
    with pytest.raises(GoalError, match="between 0 and 1"):
        Sparsify(sparsity=sparsity)


def test_an_unknown_scope_is_refused():
    with pytest.raises(PlanError, match="layer or global"):
        Sparsify(scope="channel")


def test_nothing_to_work_on_is_an_error(program_of):
    with pytest.raises(PlanError, match="kept by --keep"):
        Sparsify()(program_of("Plain", keep=("*",)), Context())
    program = compressc.capture(nn.BatchNorm1d(4), (torch.randn(2, 4),))
    with pytest.raises(PlanError, match="no convolution or linear layer"):
        Sparsify()(program, Context())


def test_masks_fit_the_parameters(program_of):
    program = program_of("Grouped")
    for name, mask in Sparsify()(program, Context()).plan.zero.items():
        assert mask.shape == tuple(program.state()[name].shape)
        assert mask.dtype == np.bool_
