"""The checks of a compression, each with a case that fails."""

from __future__ import annotations

import json

import pytest
from onnx import helper

from compressc.backend.onnx_export import export_onnx
from compressc.costs import Cost
from compressc.coupling.graph import cost_of
from compressc.errors import VerificationError
from compressc.goal import Goal
from compressc.parity.onnx_parity import OutputParity, Parity
from compressc.pipeline.checks import (
    Counted,
    check_costs,
    check_equivalence,
    check_parity,
    check_predicted_cost,
)
from compressc.pipeline.comparisons import count_file
from compressc.proof.equivalence import Equivalence
from compressc.verdict import Check, Verdict
from tests.small_networks import TwoConvs, seeded_program

FULL = Cost(macs=1000, params=100, size_bytes=400)
HALF = Cost(macs=500, params=50, size_bytes=200)


def failed(goal: Goal, result: Cost, before: Counted | None, after: Counted) -> list[str]:
    return [c.name for c in check_costs(goal, FULL, result, before, after) if not c.passed]


def test_a_goal_is_met_by_program_and_file() -> None:
    goal = Goal(macs=0.5, params=0.5, size_bytes=0.6)
    assert failed(goal, HALF, Counted(1000, 500), Counted(500, 300)) == []


@pytest.mark.parametrize(
    ("goal", "result", "after", "name"),
    [
        (Goal(macs=0.5), Cost(501, 50, 200), Counted(500, 300), "macs within the target"),
        (Goal(params=0.5), Cost(500, 51, 200), Counted(500, 300), "params within the target"),
        (Goal(macs=0.5), HALF, Counted(520, 300), "macs in the ONNX file within the target"),
        (Goal(size_bytes=0.5), HALF, Counted(500, 251), "ONNX file bytes within the target"),
        (Goal(macs=499), HALF, Counted(500, 300), "macs within the target"),
    ],
)
def test_every_bound_can_fail(goal: Goal, result: Cost, after: Counted, name: str) -> None:
    assert failed(goal, result, Counted(1000, 500), after) == [name]


def test_without_the_originals_file_its_program_is_the_measure() -> None:
    assert failed(Goal(macs=0.5), HALF, None, Counted(505, 300)) == []
    assert failed(Goal(macs=0.5), HALF, None, Counted(600, 300)) != []


def test_a_file_that_cannot_be_counted_is_judged_by_the_program() -> None:
    checks = check_costs(Goal(macs=0.5), FULL, HALF, None, Counted(None, 300))
    assert [check.name for check in checks] == ["macs within the target"]


def test_an_absolute_number_of_macs_is_not_met_by_a_file_that_cannot_be_counted() -> None:
    uncounted = "the MACs of DFT at 'y' are not counted"
    checks = check_costs(Goal(macs=600), FULL, HALF, None, Counted(None, 300, uncounted))
    assert [check.passed for check in checks] == [True, False]
    assert checks[1].text == f"{uncounted}; give a ratio of the original"


def test_a_file_with_a_fourier_transform_has_no_number_of_macs() -> None:
    program = seeded_program(TwoConvs)
    model = export_onnx(program)
    assert count_file(model, program).macs == cost_of(program).macs
    transform = helper.make_node("DFT", [model.graph.input[0].name], ["transformed"], axis=1)
    model.graph.node.append(transform)
    counted = count_file(model, program)
    assert counted.macs is None
    assert "the MACs of DFT at 'transformed' are not counted" in counted.uncounted


@pytest.mark.parametrize("passed", [True, False])
def test_a_comparison_decides_its_check(passed: bool) -> None:
    equivalence = Equivalence(0.5, 2.0, 0.25, 1e-7, True, passed)
    assert check_equivalence(equivalence).passed is passed
    assert "2.5e-01" in check_equivalence(equivalence).text
    assert check_parity(make_parity(passed, 1.0)).passed is passed


def test_an_output_that_hardly_varies_is_called_a_weak_test() -> None:
    assert "weak test" not in check_parity(make_parity(True, 1.0)).text
    assert "weak test: logits" in check_parity(make_parity(True, 1e-9)).text
    assert "weak test" not in check_equivalence(Equivalence(0, 1, 0, 1e-7, True, True)).text
    assert "weak test" in check_equivalence(Equivalence(0, 0, 0, 1e-7, False, True)).text


def make_parity(passed: bool, variation: float) -> Parity:
    output = OutputParity("logits", 1e-6, 1e-7, 1e-5, 1e-6, variation, passed)
    return Parity((1, 2, 5), 1e-6, 1e-5, passed, (output,))


def test_predicted_and_built_cost_must_agree_exactly() -> None:
    assert check_predicted_cost(HALF, HALF).passed
    assert not check_predicted_cost(HALF, Cost(501, 50, 200)).passed
    assert not check_predicted_cost(HALF, Cost(500, 51, 200)).passed


def test_a_failed_check_stops_everything() -> None:
    verdict = Verdict().with_check(Check("a", True, "fine"))
    with pytest.raises(
        VerificationError, match=r"b does not hold \(off by 1\); nothing was written"
    ):
        verdict.with_check(Check("b", False, "off by 1"))
    assert verdict.passed


def test_a_dated_verdict_says_when_once() -> None:
    verdict = Verdict((Check("a", True, "fine"),)).dated("yesterday").dated("yesterday")
    assert json.loads(verdict.summary()) == {"a": "fine; yesterday"}
