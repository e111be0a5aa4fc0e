"""ASCAI judges what is handed over, begins with what other passes propose, and ends no lower."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.goal import Goal
from compressc.passes.ascai.proposals import propose_plans
from compressc.passes.magnitude import Magnitude
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.reconstruction.judged_weights import JudgedWeights
from compressc.passes.reconstruction.refinement import RefinementSettings
from compressc.passes.spaces.space_building import build_space
from compressc.passes.surgeon import Surgeon
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.unit_features.samples import UnitSamples
from compressc.program import HistoryLine, Program
from tests.search_kit import change, make_ascai, trained

SHORT = make_ascai(population=4, generations=0, spaces=("ps",), importance="magnitude")
GOAL = Goal(macs=0.35)
CLOSED = Calibration(refinement=RefinementSettings(refine_steps=0))


def context(goal: Goal = GOAL) -> Context:
    program, task = trained()
    return Context(goal, task=task, original=program)


def validated(program: Program) -> float:
    return trained()[1].validate(compressc.lower(program).module())


def proposed(goal: Goal, spaces=("ps",)) -> dict[str, object]:
    program, task = trained()
    space = build_space(program, spaces, measure_feature(program, "l1"))
    samples = UnitSamples(task, 512, goal.seed, "test")
    proposals = propose_plans(space, context(goal), samples, by_latency=False)
    return {proposal.source: proposal.plan for proposal in proposals}


def test_proposals_are_the_plans_of_the_passes():
    program, _ = trained()
    plans = proposed(GOAL)
    assert plans["surgeon"].digest == Surgeon()(program, context()).plan.digest
    assert plans["magnitude"].digest == Magnitude()(program, context()).plan.digest
    assert plans["surgeon"].digest != plans["magnitude"].digest


def test_nothing_is_proposed_where_nothing_can_be_aimed_at():
    assert proposed(Goal()) == {}
    assert proposed(GOAL, ("svd",)) == {}
    # Channels alone do not get there.
    assert proposed(Goal(macs=0.0001)) == {}


@pytest.mark.parametrize("judge", ["repaired", "as-cut"])
def test_it_never_ends_below_what_is_proposed(judge):
    program, task = trained()
    repair = JudgedWeights(judge).open_repair(program, task, 0, "test", lambda *_: None)
    searched = change(SHORT, judge=judge)(program, context())
    for plan in proposed(GOAL).values():
        decided = program.with_plan(plan)
        handed_over = decided if repair is None else repair.repaired(decided)
        assert validated(searched) >= validated(handed_over)
    assert any("surgeon proposes a plan of metric" in note for note in searched.history[-1].notes)


def test_a_naive_start_is_left_alone():
    searched = change(SHORT, initialization="naive")(trained()[0], context())
    assert not any("proposes" in note for note in searched.history[-1].notes)


def test_a_plan_that_was_proposed_can_win():
    program, _ = trained()
    plans = {plan.digest for plan in proposed(GOAL).values()}
    searched = SHORT(program, context(replace(GOAL, trials=2)))
    assert searched.plan.digest in plans


def test_what_is_handed_over_has_the_judged_weights():
    program, _ = trained()
    searched = change(SHORT, judge="repaired")(program, context())
    assert f"metric {validated(searched):.4g}" in searched.history[-1].notes[1]
    assert "repaired by least squares" in searched.history[-1].notes[1]
    cut = change(SHORT, judge="as-cut")(program, context())
    assert validated(searched) > validated(cut) + 5
    state = program.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in cut.state().items())


def test_finalists_are_repaired_in_full_and_the_best_of_them_wins():
    program, _ = trained()
    plain = SHORT(program, context())
    searched = change(SHORT, finalists=2)(program, context())
    closed = CLOSED
    again = closed(program.with_plan(searched.plan), context())
    state = again.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in searched.state().items())
    assert f"metric {validated(searched):.4g}" in searched.history[-1].notes[1]
    assert any("finalists after calibrate" in note for note in searched.history[-1].notes)
    for plan in (*proposed(GOAL).values(), plain.plan):
        assert validated(searched) >= validated(closed(program.with_plan(plan), context()))


def test_calibrate_behind_it_still_reproduces_the_original():
    program, _ = trained()
    searched = change(SHORT, recalibrate=64)(program, context())
    assert not torch.equal(searched.state()["b.weight"], program.state()["b.weight"])
    behind = CLOSED(searched, context()).state()
    alone = CLOSED(program.with_plan(searched.plan), context()).state()
    assert all(torch.equal(tensor, alone[name]) for name, tensor in behind.items())


def test_calibrate_reproduces_what_a_pass_trained():
    program, _ = trained()
    plan = Surgeon()(program, context()).plan
    moved = {name: tensor * 1.1 for name, tensor in program.state().items()}
    trained_since = program.with_state(moved).with_line(HistoryLine("finetune"))
    searched = CLOSED(trained_since.with_plan(plan), context()).state()
    alone = CLOSED(trained_since.with_plan(plan), replace(context(), original=None))
    assert all(torch.equal(tensor, alone.state()[name]) for name, tensor in searched.items())
    unknown = program.with_state(moved).with_line(HistoryLine("somebody's own"))
    again = CLOSED(unknown.with_plan(plan), context()).state()
    assert all(torch.equal(tensor, again[name]) for name, tensor in searched.items())


def test_widths_have_a_point():
    program, _ = trained()
    space = build_space(program, ("ps", "svd"), measure_feature(program, "l1"))
    plan = Magnitude()(program, context()).plan
    again = space.plan_of(space.point_of_widths(plan.keep))
    widths = {name: int(mask.sum()) for name, mask in plan.keep.items()}
    assert {name: int(mask.sum()) for name, mask in again.keep.items()} == widths
    assert not again.rank
    assert couple(program).cost(again) == couple(program).cost(plan)
