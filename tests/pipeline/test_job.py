"""The front door in Python: what may stand for passes, and what a pending plan forbids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import compressc
from compressc.coupling.graph import couple
from compressc.errors import CompresscError, GoalError, PlanError
from compressc.goal import Goal
from compressc.passes import Magnitude, Sparsify
from compressc.pipeline.job import Job, resolve_passes
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.settings import Settings
from tests.small_networks import TwoConvs, seeded_program

QUICK = Settings(measure=False)


@pytest.fixture(scope="module")
def program() -> Program:
    return seeded_program(TwoConvs)


@pytest.mark.parametrize(
    "passes", ["magnitude", ["magnitude"], Magnitude(), (Magnitude(),), iter(["magnitude"])]
)
def test_names_and_passes_alone_or_listed_are_passes(passes: Any) -> None:
    assert resolve_passes(passes) == (Magnitude(),)


def test_names_and_passes_mix(program: Program) -> None:
    result = compressc.compress(
        program, goal=Goal(macs=0.6), passes=["magnitude", Sparsify(sparsity=0.5)], settings=QUICK
    )
    assert [row.name for row in result.report.passes] == ["magnitude", "sparsify"]


@pytest.mark.parametrize(
    ("passes", "said"),
    [
        (["magnitued"], "no pass is called 'magnitued'"),
        ([3], "3 is no pass"),
        ([Magnitude], r"Magnitude is the class of a pass; give Magnitude\(\)"),
        ([lambda program, context: program], "derives from compressc.Pass"),
    ],
)
def test_what_is_no_pass_is_said(program: Program, passes: Any, said: str) -> None:
    with pytest.raises(CompresscError, match=said):
        Job(program, Goal(macs=0.5), passes=passes)


def planned(program: Program) -> Program:
    group = next(g for g in couple(program).groups if g.pinned is None)
    return program.with_plan(Plan(keep={group.name: np.arange(group.size) > 1}))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"constraints": Constraints(keep=("conv1",))}, r"with keep=\(\), not \('conv1',\)"),
        ({"constraints": Constraints(statistics="frozen")}, "statistics='kept', not 'frozen'"),
        ({"constraints": Constraints(multiple_of=8)}, "multiple_of=1, not 8"),
        ({"multiple_of": 4}, "multiple_of=1, not 4"),
    ],
)
def test_constraints_that_a_pending_plan_was_not_made_under_are_refused(
    program: Program, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(PlanError, match=said):
        compressc.compress(planned(program), goal=Goal(), passes=(), settings=QUICK, **asked)


def test_an_unknown_layer_is_refused_also_where_a_plan_is_pending(program: Program) -> None:
    with pytest.raises(CompresscError, match="matches no layer"):
        compressc.compress(
            planned(program),
            goal=Goal(),
            passes=(),
            constraints=Constraints(keep=("nowhere",)),
            settings=QUICK,
        )


def test_constraints_of_the_plan_may_be_said_again(program: Program) -> None:
    result = compressc.compress(
        planned(program), goal=Goal(), passes=(), constraints=Constraints(), settings=QUICK
    )
    assert result.plans == (planned(program).plan,)


@pytest.mark.parametrize("multiple", [0, -8])
def test_a_multiple_below_one_is_no_multiple(program: Program, multiple: int) -> None:
    with pytest.raises(GoalError, match=rf"multiple_of {multiple}: must be from 1 to"):
        compressc.compress(program, goal=Goal(macs=0.5), multiple_of=multiple, settings=QUICK)
    with pytest.raises(GoalError, match=rf"multiple_of {multiple}: must be from 1 to"):
        Constraints(multiple_of=multiple)
