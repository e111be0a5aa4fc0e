"""Running passes at a channel step that fits the goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from compressc.clock import Clock
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.errors import GoalError
from compressc.pipeline.artifact import Artifact
from compressc.program import HistoryLine, Program
from tests.pipeline import decision_kit
from tests.pipeline.decision_kit import keep_by_step, wide_program


@pytest.fixture(scope="module")
def program() -> Program:
    return wide_program()


@dataclass(frozen=True)
class Scripted(Pass):
    """Keeps a set number of channels per step, or says that the goal is out of reach."""

    kept: tuple[tuple[int, int], ...]
    name: ClassVar[str] = "scripted"

    def __call__(self, program: Program, context: Context) -> Program:
        found = keep_by_step(program, self.kept)
        context.progress(1, 2, "half way")
        return found.with_line(HistoryLine("scripted", notes=("hm",)))


def run(program: Program, *kept: tuple[int, int], **settings: Any) -> Artifact:
    return decision_kit.run(program, Scripted(kept), **settings)


def test_the_first_step_that_comes_close_is_taken(program: Program) -> None:
    found = run(program, (16, 48), (8, 50))
    assert found.channel_step == 16
    assert found.notes == ()
    assert found.passes[0].name == "scripted"
    assert found.passes[0].settings == {"kept": ((16, 48), (8, 50))}
    assert found.passes[0].notes == ("hm",)


def test_an_overshoot_is_tried_once_more_at_half_the_step(program: Program) -> None:
    found = run(program, (16, 32), (8, 48), (4, 50))
    assert found.channel_step == 8
    assert "overshot" in found.notes[0]


def test_steps_much_finer_are_not_worth_the_last_points(program: Program) -> None:
    found = run(program, (16, 32), (8, 40), (4, 50))
    assert found.channel_step == 8
    assert found.program.plan.keep["0"].sum() == 40


def test_the_coarse_result_stays_where_finer_is_no_closer(program: Program) -> None:
    found = run(program, (16, 40), (8, 40))
    assert found.channel_step == 16
    assert found.notes == ()


def test_out_of_reach_goes_down_to_single_channels(program: Program) -> None:
    found = run(program, (1, 50))
    assert found.channel_step == 1
    assert "cannot be reached" in found.notes[0]


def test_a_step_that_the_user_asked_for_stands(program: Program) -> None:
    with pytest.raises(GoalError, match="out of reach at 16"):
        run(program, (8, 50), may_relax=False)
    assert run(program, (16, 10), may_relax=False).channel_step == 16


def test_the_last_failure_is_the_one_that_is_told(program: Program) -> None:
    with pytest.raises(GoalError, match=r"out of reach at 1$"):
        run(program)


def test_progress_of_a_pass_carries_its_name(program: Program) -> None:
    said: list[str] = []
    clock = Clock(lambda _done, _total, text: said.append(text))
    run(program, (16, 50), clock=clock, may_relax=False)
    assert said == ["running scripted", "running scripted: half way"]
    assert set(clock.seconds) == {"running scripted"}
