from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.errors import GoalError, PlanError
from compressc.goal import Goal
from compressc.passes.magnitude import Magnitude
from compressc.plan import Plan


def ratio(program: compressc.Program, what: str = "macs") -> float:
    return getattr(cost_of(program), what) / getattr(couple(program).cost(Plan()), what)


def kept(program: compressc.Program) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in program.plan.keep.items()}


@pytest.mark.parametrize("what", ["macs", "params", "size_bytes"])
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_the_goal_is_reached_from_below(program_of, network, scope, what):
    for target in (0.75, 0.5, 0.3):
        found = Magnitude(scope=scope)(program_of(network), Context(Goal(**{what: target})))
        assert target - 0.03 < ratio(found, what) <= target


def test_steps_of_sixteen_still_reach_half(program_of, network):
    program = program_of(network, multiple_of=16)
    found = Magnitude()(program, Context(Goal(macs=0.5)))
    assert ratio(found) <= 0.5
    for group in couple(program).groups:
        count = kept(found).get(group.name, group.size)
        assert count == group.size or count % group.multiple_of == 0


def test_the_smallest_filters_leave(altered):
    silent = [3, 7, 20, 21]

    def silence(model: nn.Module) -> None:
        model.b[0].weight[silent] = 0.0
        model.c[0].weight[:, silent] = 0.0

    program = altered("Plain", silence)
    found = Magnitude(ratios=(("b.0", 60 / 64),))(program, Context())
    assert np.flatnonzero(~found.plan.keep["b.0"]).tolist() == silent


def test_all_bounds_hold_and_one_is_met_closely(program_of):
    found = Magnitude()(program_of("Plain"), Context(Goal(macs=0.6, params=0.4)))
    assert ratio(found) <= 0.6
    assert 0.37 < ratio(found, "params") <= 0.4


def test_amounts_are_bounds_too(program_of):
    program = program_of("Residual")
    macs = couple(program).cost(Plan()).macs
    found = Magnitude()(program, Context(Goal(macs=int(0.45 * macs))))
    assert 0.42 < ratio(found) <= 0.45


def test_a_goal_that_holds_already_removes_nothing(program_of):
    found = Magnitude()(program_of("Plain"), Context(Goal(macs=1e12)))
    assert not found.plan


def test_ratios_decide_whatever_the_goal_says(program_of):
    rules = (("a.0", 0.25), ("*.0", 1.0))
    found = Magnitude(ratios=rules)(program_of("Plain"), Context())
    assert kept(found) == {"a.0": 8}
    with_goal = Magnitude(ratios=(("a.0", 0.75),))(program_of("Plain"), Context(Goal(macs=0.3)))
    assert kept(with_goal)["a.0"] == 24
    assert 0.27 < ratio(with_goal) <= 0.3


def test_ratios_that_block_the_goal_are_named(program_of):
    keep_most = Magnitude(ratios=(("[ab].0", 0.9), ("c.0", 0.9)))
    with pytest.raises(GoalError, match=r"its width was given.*lower the given ratios"):
        keep_most(program_of("Plain"), Context(Goal(macs=0.3)))


def test_kept_layers_are_not_touched(program_of):
    found = Magnitude()(program_of("Plain", keep=("b.*",)), Context(Goal(macs=0.5)))
    assert "b.0" not in found.plan.keep
    assert ratio(found) <= 0.5


def test_a_goal_out_of_reach_says_how_far_and_what_blocks(program_of):
    with pytest.raises(GoalError) as error:
        Magnitude()(program_of("Plain", keep=("a.0", "b.0")), Context(Goal(macs=0.2)))
    text = str(error.value)
    assert "\n" not in text
    assert "pruning goes only down to 0.5" in text
    assert "kept by --keep b.0" in text
    assert "keep fewer layers" in text


def test_the_reach_it_names_can_be_reached(program_of):
    program = program_of("Plain", multiple_of=16)
    with pytest.raises(GoalError, match="multiples of 16") as error:
        Magnitude()(program, Context(Goal(macs=0.05)))
    lowest = float(str(error.value).split("to about ")[1].split(",")[0])
    assert ratio(Magnitude()(program, Context(Goal(macs=lowest)))) <= lowest


def test_the_reach_counts_layers_that_are_factorised_already(program_of):
    program = program_of("Plain", keep=("a.0", "b.0"))
    program = program.with_plan(Plan(rank={"b.0": (8, 8)}))
    with pytest.raises(GoalError) as error:
        Magnitude()(program, Context(Goal(macs=0.01)))
    lowest = float(str(error.value).split("to about ")[1].split(",")[0])
    found = Magnitude()(program, Context(Goal(macs=lowest)))
    assert found.plan.rank
    assert lowest - 0.001 < ratio(found) <= lowest


def test_an_earlier_zero_mask_survives(program_of):
    program = program_of("Plain")
    mask = {"fc.weight": np.zeros((10, 32), dtype=bool)}
    found = Magnitude()(program.with_plan(Plan(zero=mask)), Context(Goal(macs=0.5)))
    assert found.plan.keep
    assert not found.plan.zero["fc.weight"].any()


def test_the_lowered_model_costs_what_was_planned(program_of, network):
    found = Magnitude()(program_of(network), Context(Goal(macs=0.5)))
    lowered = cost_of(compressc.lower(found))
    assert (lowered.macs, lowered.params) == (cost_of(found).macs, cost_of(found).params)
    assert lowered.size_bytes <= cost_of(found).size_bytes


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"norm": "l3"}, PlanError, "l1 or l2"),
        ({"scope": "local"}, PlanError, "uniform or global"),
        ({"floor": 1.5}, GoalError, "0 to 1"),
        ({"floor": float("nan")}, GoalError, "0 to 1"),
        ({"ratios": (("a", 0.0),)}, GoalError, "above 0"),
        ({"ratios": (("a", 1.2),)}, GoalError, "at most 1"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, error, text):
    with pytest.raises(error, match=text) as caught:
        Magnitude(**settings)
    assert "\n" not in str(caught.value)


def test_patterns_that_fit_nothing_are_refused(program_of):
    with pytest.raises(PlanError, match="no group matches 'layer9"):
        Magnitude(ratios=(("layer9.*", 0.5),))(program_of("Plain"), Context())
    with pytest.raises(PlanError, match=r"'fc' cannot be pruned.*output"):
        Magnitude(ratios=(("fc", 0.5),))(program_of("Plain"), Context())


def test_a_pinned_group_among_others_is_remarked_on(program_of):
    found = Magnitude(ratios=(("*", 0.5),))(program_of("Plain"), Context())
    assert any(note.startswith("fc stays whole") for note in found.history[-1].notes)


def test_something_to_aim_at_is_needed(program_of):
    with pytest.raises(GoalError, match="--target-flops"):
        Magnitude()(program_of("Plain"), Context())


def test_a_model_without_prunable_channels_says_so():
    program = compressc.capture(nn.Linear(4, 2), (torch.randn(2, 4),))
    with pytest.raises(GoalError, match=r"down to 1 of the MACs.*output"):
        Magnitude()(program, Context(Goal(macs=0.5)))
