"""Passes that search are called once; the channel step is found without them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.contract.registry import find_pass
from compressc.coupling.graph import cost_of
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.program import Program
from tests.pipeline.decision_kit import keep_by_step, run, wide_program


@pytest.fixture(scope="module")
def program() -> Program:
    return wide_program()


@dataclass(frozen=True)
class Keeping(Pass):
    """Keeps a number of channels per step, out of reach where there is none; notes its calls."""

    kept: tuple[tuple[int, int], ...]
    calls: list[int] = field(default_factory=list, compare=False)
    name: ClassVar[str] = "keeping"

    def __call__(self, program: Program, context: Context) -> Program:
        self.calls.append(program.constraints.multiple_of)
        return keep_by_step(program, self.kept)


@dataclass(frozen=True)
class Searching(Keeping):
    cheap: Keeping = Keeping(())
    name: ClassVar[str] = "searching"

    def rehearsal(self) -> Pass:
        return self.cheap


@dataclass(frozen=True)
class Independent(Keeping):
    declares: ClassVar[Declaration] = Declaration(channel_step="own")
    name: ClassVar[str] = "independent"


def test_a_search_is_called_once_at_the_step_of_its_rehearsal(program: Program) -> None:
    cheap = Keeping(((8, 30), (4, 48)))
    search = Searching(((8, 45),), cheap=cheap)
    found = run(program, search)
    assert search.calls == [8]
    assert cheap.calls == [16, 8]
    assert found.channel_step == 8
    assert found.program.plan.keep["0"].sum() == 45
    assert [step.name for step in found.passes] == ["searching"]
    assert "cannot be reached" in found.notes[0]


def test_passes_without_a_rehearsal_stand_for_themselves_in_one(program: Program) -> None:
    before, search = Keeping(((16, 48),)), Searching(((16, 48),), cheap=Keeping(((16, 48),)))
    run(program, before, search)
    assert search.calls == [16]
    assert before.calls == [16, 16]


def test_out_of_reach_is_found_without_searching(program: Program) -> None:
    search = Searching((), cheap=Keeping(()))
    with pytest.raises(GoalError, match="out of reach at 1"):
        run(program, search)
    assert search.calls == []


def test_at_a_step_that_the_user_chose_nothing_is_rehearsed(program: Program) -> None:
    cheap = Keeping(())
    search = Searching(((16, 48),), cheap=cheap)
    assert run(program, search, may_relax=False).channel_step == 16
    assert (search.calls, cheap.calls) == ([16], [])


def test_a_pass_with_a_step_of_its_own_is_called_once(program: Program) -> None:
    one = Independent(((1, 36), (16, 48)))
    found = run(program, one)
    assert one.calls == [1]
    assert found.channel_step == 36  # what its counts are multiples of
    asked = Independent(((8, 40),))
    assert run(program, asked, may_relax=False, step=8).channel_step == 8
    assert asked.calls == [8]


@pytest.mark.parametrize("name", ["ascai", "rl-mcts", "surgeon", "calibrate"])
def test_what_is_expensive_has_a_rehearsal_without_data(name: str, program: Program) -> None:
    one = find_pass(name)()
    cheap = one.rehearsal()
    assert cheap is not one
    found = cheap(program, Context(goal=Goal(macs=0.5)))
    if name != "calibrate":
        assert cost_of(found).macs <= 0.5 * cost_of(program).macs
        with pytest.raises(GoalError):
            cheap(program, Context(goal=Goal(macs=1e-6)))


def test_decisive_passes_find_a_latency_step_by_entry_point() -> None:
    assert find_pass("latency").declares.channel_step == "own"
    assert find_pass("magnitude")().rehearsal() == find_pass("magnitude")()
