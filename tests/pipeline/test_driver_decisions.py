"""Running passes at a channel step that fits the goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.pass_protocol import Context, ignore_progress
from compressc.pipeline.decisions import Decision, decide
from compressc.plan import Plan
from compressc.program import Program, Step
from compressc.stages import Stages


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return compressc.capture(
        nn.Sequential(nn.Conv2d(3, 100, 1, bias=False), nn.ReLU(), nn.Conv2d(100, 3, 1)),
        (torch.randn(2, 3, 4, 4),),
    )


@dataclass(frozen=True)
class Scripted:
    """Keeps a set number of channels per step, or says that the goal is out of reach."""

    kept: tuple[tuple[int, int], ...]
    name: ClassVar[str] = "scripted"

    def __call__(self, program: Program, context: Context) -> Program:
        step = program.constraints.multiple_of
        found = dict(self.kept).get(step)
        if found is None:
            raise GoalError(f"out of reach at {step}")
        mask = np.arange(100) < found
        context.progress(1, 2, "half way")
        return program.with_plan(Plan(keep={"0": mask})).with_step(Step("scripted", notes=("hm",)))


def run(
    program: Program, *kept: tuple[int, int], may_relax: bool = True, step: int = 16
) -> Decision:
    context = Context(goal=Goal(macs=0.5))
    stages = Stages(ignore_progress)
    return decide(program, [Scripted(kept)], context, stages, multiple_of=step, may_relax=may_relax)


def test_the_first_step_that_comes_close_is_taken(program: Program) -> None:
    found = run(program, (16, 48), (8, 50))
    assert found.multiple_of == 16
    assert found.notes == ()
    assert found.steps[0].name == "scripted"
    assert found.steps[0].settings == {"kept": ((16, 48), (8, 50))}
    assert found.steps[0].notes == ("hm",)


def test_an_overshoot_is_tried_once_more_at_half_the_step(program: Program) -> None:
    found = run(program, (16, 32), (8, 48), (4, 50))
    assert found.multiple_of == 8
    assert "overshot" in found.notes[0]


def test_steps_much_finer_are_not_worth_the_last_points(program: Program) -> None:
    found = run(program, (16, 32), (8, 40), (4, 50))
    assert found.multiple_of == 8
    assert found.program.plan.keep["0"].sum() == 40


def test_the_coarse_result_stays_where_finer_is_no_closer(program: Program) -> None:
    found = run(program, (16, 40), (8, 40))
    assert found.multiple_of == 16
    assert found.notes == ()


def test_out_of_reach_goes_down_to_single_channels(program: Program) -> None:
    found = run(program, (1, 50))
    assert found.multiple_of == 1
    assert "cannot be reached" in found.notes[0]


def test_a_step_that_the_user_asked_for_stands(program: Program) -> None:
    with pytest.raises(GoalError, match="out of reach at 16"):
        run(program, (8, 50), may_relax=False)
    assert run(program, (16, 10), may_relax=False).multiple_of == 16


def test_the_last_failure_is_the_one_that_is_told(program: Program) -> None:
    with pytest.raises(GoalError, match=r"out of reach at 1$"):
        run(program)


def test_progress_of_a_pass_carries_its_name(program: Program) -> None:
    said: list[str] = []
    stages = Stages(lambda _done, _total, text: said.append(text))
    decide(
        program,
        [Scripted(((16, 50),))],
        Context(goal=Goal(macs=0.5)),
        stages,
        multiple_of=16,
        may_relax=False,
    )
    assert said == ["running scripted", "running scripted: half way"]
    assert set(stages.seconds) == {"running scripted"}
