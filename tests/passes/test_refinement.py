"""Refinement: blocks of a pruned network come nearer to those of the original, or stay."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.reconstruction.refinement import RefinementSettings, refine_blocks
from compressc.passes.reconstruction.small_network import cut_small
from compressc.passes.surgeon import Surgeon
from compressc.program import Program
from compressc.tasks.protocol import draw_samples
from tests.search_kit import trained

CLOSED = Calibration(refinement=RefinementSettings(refine_steps=0))
SETTINGS = RefinementSettings(refine_steps=60)


def context() -> Context:
    program, task = trained()
    return Context(Goal(macs=0.35), task=task, original=program)


def closed_form() -> Program:
    return CLOSED(Surgeon()(trained()[0], context()), context())


def refined(program: Program, settings: RefinementSettings = SETTINGS, seed: int = 0):
    batches = draw_samples(trained()[1], 512, 0, "test")
    state = {name: tensor.clone() for name, tensor in program.state().items()}
    outcome = refine_blocks(
        program, trained()[0].graph_module, batches, settings, state, seed, lambda *_: None
    )
    return program.with_state(state), outcome


def error(program: Program) -> float:
    """Return the error of the logits on search-validation images, beside what they vary by."""
    base, task = trained()
    x = task._input(task.data.val.images)
    with torch.no_grad():
        original = base.graph_module(x)
        made = compressc.lower(program).graph_module(x)
    return float((made - original).square().mean() / (original - original.mean(0)).square().mean())


def test_every_block_and_the_whole_come_nearer():
    before = closed_form()
    after, outcome = refined(before)
    assert len(outcome) == 2
    assert all(block.after < 0.9 * block.before for block in outcome)
    assert error(after) < 0.97 * error(before)


def test_the_same_seed_gives_the_same():
    before = closed_form()
    first, again, other = refined(before)[0], refined(before)[0], refined(before, seed=1)[0]
    state = first.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state().items())
    assert any(not torch.equal(tensor, state[name]) for name, tensor in other.state().items())


def test_a_block_that_gets_worse_keeps_its_weights():
    before = closed_form()
    after, outcome = refined(before, replace(SETTINGS, refine_rate=30.0))
    assert all(not block.after < block.before or math.isnan(block.after) for block in outcome)
    state = before.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in after.state().items())


def test_zeros_stay_and_factorised_layers_too():
    program, _ = trained()
    rng = np.random.default_rng(0)
    shape = tuple(program.state()["b.weight"].shape)
    plan = Surgeon()(program, context()).plan.with_zero({"b.weight": rng.random(shape) > 0.5})
    plan = couple(program).fit_ranks(replace(plan, rank={"wide": (2,)}))
    assert plan.rank
    before = CLOSED(program.with_plan(plan), context())
    after, _ = refined(before)
    small = cut_small(before)
    places = small.places["b.weight"][~small.alive["b.weight"]]
    assert len(places)
    assert (after.state()["b.weight"].flatten()[places] == 0).all()
    assert not torch.equal(after.state()["b.weight"], before.state()["b.weight"])
    assert torch.equal(after.state()["wide.weight"], before.state()["wide.weight"])


def test_calibrate_refines_behind_the_closed_form():
    decided = Surgeon()(trained()[0], context())
    plain = CLOSED(decided, context())
    better = replace(CLOSED, refinement=SETTINGS)(decided, context())
    assert error(better) < error(plain)
    assert any("blocks refined" in note for note in better.history[-1].notes)
    assert not any("refined" in note for note in plain.history[-1].notes)
    assert better.plan == plain.plan


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"refine_steps": -1}, "0 or more"), ({"refine_rate": 0.0}, "above 0")],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(GoalError, match=message):
        RefinementSettings(**settings)


def test_no_more_is_computed_than_is_allowed():
    settings = RefinementSettings(refine_steps=200, refine_batch=10, refine_macs=3e6)
    assert settings.affordable_steps(1000) == 100
    assert settings.affordable_steps(100) == 200
    before = closed_form()
    after, outcome = refined(before, replace(SETTINGS, refine_macs=1.0))
    state = before.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in after.state().items())
    assert all(block.after == block.before for block in outcome)


def test_time_cuts_steps_short():
    before = closed_form()
    hurried, outcome = refined(before, replace(SETTINGS, refine_seconds=1e-9, refine_steps=10_000))
    once, expected = refined(before, replace(SETTINGS, refine_steps=1))
    assert len(outcome) == len(expected)
    assert error(hurried) == pytest.approx(error(once), rel=0.05)


def test_few_samples_teach_few_steps(monkeypatch):
    before = closed_form()
    few = draw_samples(trained()[1], 96, 0, "test")

    def steps_made(steps: int) -> int:
        made = []
        step = torch.optim.Adam.step
        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.Adam, "step", lambda *given: made.append(1) or step(*given))
            settings = RefinementSettings(refine_steps=steps)
            state = {name: tensor.clone() for name, tensor in before.state().items()}
            teacher = trained()[0].graph_module
            refine_blocks(before, teacher, few, settings, state, 0, lambda *_: None)
        return len(made)

    # Three batches of 32, one of them held back; two blocks.
    assert steps_made(20) == 2 * 20
    assert steps_made(500) == 2 * 14 * 2
