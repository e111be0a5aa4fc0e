"""The pass gradual: zeros that rise while a network trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.errors import DataError, GoalError, PlanError
from compressc.goal import Goal
from compressc.passes.dead_channels import DeadChannels
from compressc.passes.gradual.magnitude_masks import MagnitudeMasks, count_kept, mask_smallest
from compressc.passes.gradual.prunable_weights import list_prunable_weights
from compressc.passes.gradual.pruning import Gradual
from compressc.passes.gradual.ramp import Ramp
from compressc.pictures import CurvePicture
from compressc.plan import Plan
from compressc.program import Constraints
from compressc.proof.equivalence import prove
from tests.passes.training_kit import assert_same_weights, make_context, make_program, make_task


class StoppedError(Exception):
    pass


def gradual(**fields) -> Gradual:
    usual = {"epochs": 4, "learning_rate": 0.1, "precision": "float32", "prune_every": 2}
    return Gradual(**{**usual, **fields})


def test_the_ramp_is_the_papers() -> None:
    ramp = Ramp(0.8, 10)
    assert ramp.at(0) == 0
    assert ramp.at(5) == pytest.approx(0.8 * (1 - 0.5**3))
    assert ramp.at(10) == ramp.at(99) == pytest.approx(0.8)
    shares = [ramp.at(step) for step in range(11)]
    rises = np.diff(shares)
    assert (rises > 0).all()
    assert (np.diff(rises) < 0).all()


def test_masks_leave_the_largest() -> None:
    weight = torch.tensor([[3.0, -1.0], [0.5, -4.0]])
    assert mask_smallest(weight, 0.5, 1).tolist() == [[True, False], [False, True]]
    assert mask_smallest(weight, 0.99, 1).tolist() == [[False, False], [False, True]]
    decided = torch.tensor([[True, True], [True, False]])
    assert mask_smallest(weight, 0.5, 1, decided).tolist() == [[True, True], [False, False]]


def test_no_layer_loses_everything() -> None:
    assert count_kept(100, 0.999, 16) == 16
    assert count_kept(8, 0.999, 16) == 8
    assert count_kept(100, 0.5, 16) == 50


def test_a_masked_weight_gets_no_gradient_and_comes_back_when_others_shrink() -> None:
    torch.manual_seed(0)
    module = compressc.capture(nn.Linear(3, 2, bias=False), (torch.randn(2, 3),)).module()
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[3.0, 1.0, 2.0], [0.5, 5.0, 4.0]]))
    masks = MagnitudeMasks(module, ["weight"], 1)
    masks.prune(0.5)
    module(torch.ones(1, 3)).sum().backward()
    assert module.weight.grad.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert module(torch.ones(1, 3)).tolist() == [[3, 9]]
    with torch.no_grad():
        module.weight[1, 1] = 0.1
    masks.prune(0.5)
    assert masks.masks["weight"].tolist() == [[True, False, True], [False, False, True]]
    assert module(torch.ones(1, 3)).tolist() == [[5, 4]]


def test_the_result_has_the_zeros_and_has_learned() -> None:
    program, task = make_program(), make_task(train=480)
    result = gradual(epochs=8, sparsity=0.7, skip_first_last=False, floor=1)(
        program, Context(task=task)
    )
    assert set(result.plan.zero) == {"a.weight", "b.weight", "fc.weight"}
    for name, mask in result.plan.zero.items():
        assert mask.mean() == pytest.approx(0.3, abs=0.02)
        assert torch.equal(result.state()[name] != 0, torch.as_tensor(mask))
    lowered = compressc.lower(result)
    assert prove(result, lowered).passed
    assert set(lowered.sparse_weights) == set(result.plan.zero)
    untrained = task.validate(program.module())
    assert task.validate(lowered.module()) > max(60, untrained + 20)
    curve = result.history[-1].pictures[0]
    assert isinstance(curve, CurvePicture)
    zeros = [place for place, _ in curve.points]
    assert zeros[0] == 0
    assert zeros[-1] == pytest.approx(70, abs=1)
    assert zeros == sorted(zeros)
    assert len(zeros) == 9


def test_only_epochs_behind_the_ramp_are_kept() -> None:
    # With a full ramp the last epoch alone has all the zeros.
    result = gradual(ramp=1.0, sparsity=0.6)(make_program(), make_context())
    assert "the best was 4" in result.history[-1].notes[0]
    assert 1 - result.plan.zero["b.weight"].mean() == pytest.approx(0.6, abs=0.01)


def test_zeros_decided_before_stay_and_count() -> None:
    program = make_program()
    zero = np.arange(8 * 12 * 9).reshape(12, 8, 3, 3) % 3 > 0
    sparse = compressc.lower(program.with_plan(Plan(zero={"b.weight": zero})))
    result = gradual(sparsity=0.5)(sparse, make_context())
    assert not result.plan.zero["b.weight"][~zero].any()
    assert result.plan.zero["b.weight"].mean() == pytest.approx(0.5, abs=0.01)


def test_sparsity_0_is_plain_training() -> None:
    result = gradual(sparsity=0.0)(make_program(), make_context())
    assert not result.plan
    assert (result.state()["b.weight"] != 0).all()


def test_layers_on_their_floor_are_named() -> None:
    result = gradual(sparsity=0.95, floor=40, skip_first_last=False)(make_program(), make_context())
    notes = " ".join(result.history[-1].notes)
    assert "95 % zeros would leave too little of 2 layer(s)" in notes
    assert "fc (40 of 48)" in notes
    assert int(result.plan.zero["fc.weight"].sum()) == 40


def test_depthwise_weights_count_and_kept_layers_do_not() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 1))
    program = compressc.capture(net, (torch.randn(2, 3, 8, 8),))
    assert list_prunable_weights(program)[0] == ("0.weight", "1.weight", "2.weight")
    assert list_prunable_weights(program, skip_first_last=True)[0] == ("1.weight",)
    kept = program.with_constraints(Constraints(keep=("1", "2")))
    names, notes = list_prunable_weights(kept)
    assert names == ("0.weight",)
    assert "1 stays dense: kept by --keep 1" in notes
    with pytest.raises(PlanError, match="no weight to put zeros into"):
        list_prunable_weights(program.with_constraints(Constraints(keep=("*",))))


def test_from_scratch_forgets_the_weights() -> None:
    once, other = (
        gradual(from_scratch=True)(make_program(seed=seed), make_context()) for seed in (0, 1)
    )
    assert_same_weights(once, other)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_that_was_cut_off_ends_the_same(epochs: int, tmp_path: Path) -> None:
    whole = gradual()(make_program(), make_context())
    seen: list[int] = []

    def stop(done: int, total: int, text: str) -> None:
        seen.append(done)
        if done > epochs * total // 4 + 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        gradual()(make_program(), replace(make_context(tmp_path), progress=stop))
    again = gradual()(make_program(), make_context(tmp_path))
    assert_same_weights(whole, again)
    assert again.plan == whole.plan
    assert again.history[-1].pictures == whole.history[-1].pictures


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"sparsity": 1.0}, "sparsity 1: give a share"),
        ({"sparsity": -0.1}, "sparsity -0.1: give a share"),
        ({"ramp": 0.0}, "ramp 0: give a share"),
        ({"prune_every": 0}, "prune_every 0"),
        ({"floor": 0}, "floor 0"),
        ({"ema": 0.9}, "give ema and patience to finetune"),
        ({"patience": 3}, "give ema and patience to finetune"),
    ],
)
def test_bad_settings_are_one_line(fields: dict[str, float], text: str) -> None:
    with pytest.raises(GoalError, match=text):
        Gradual(**fields)


def test_it_needs_labels() -> None:
    with pytest.raises(DataError, match="gradual needs data"):
        gradual()(make_program(), Context(Goal()))


def test_a_network_that_diverges_still_has_its_zeros() -> None:
    result = gradual(learning_rate=1e9)(make_program(), make_context())
    assert "training stopped" in " ".join(result.history[-1].notes)
    mask = result.plan.zero["b.weight"]
    assert 1 - mask.mean() == pytest.approx(0.9, abs=0.01)
    assert all(torch.isfinite(tensor).all() for tensor in result.state().values())
    assert couple(result).cost(result.plan).macs > 0


def test_a_filter_without_weights_is_silent_and_leaves() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.Flatten(),
        nn.Linear(256, 4),
    )
    with torch.no_grad():
        net[1].bias.fill_(1.0)
        net[0].weight[:2] *= 1e-3
    program = compressc.capture(net.eval(), (torch.randn(2, 3, 8, 8),))
    result = gradual(sparsity=0.4, skip_first_last=False)(program, make_context())
    silent = ~result.plan.zero["0.weight"].reshape(6, -1).any(1)
    assert silent.sum() >= 2
    state = result.state()
    assert not state["1.bias"][silent].any()
    assert not state["1.weight"][silent].any()
    assert state["1.bias"][~silent].all()
    cleaned = DeadChannels()(result, Context(Goal()))
    lowered = compressc.lower(cleaned)
    assert prove(cleaned, lowered).passed
    assert lowered.state()["0.weight"].shape[0] == 6 - int(silent.sum())
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(
        lowered.graph_module(x), compressc.lower(result).graph_module(x), rtol=1e-4, atol=1e-5
    )
