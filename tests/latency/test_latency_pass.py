"""The pass: targets, another machine's table, and the correction by measuring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import compressc
from compressc.errors import GoalError, PlanError
from compressc.goal import Goal
from compressc.latency.latency_model import build_latency_model
from compressc.pass_protocol import Context, find_pass
from compressc.passes.latency import Latency
from compressc.program import Program
from compressc.runtime.cost_table import CostTable
from compressc.runtime.errors import RuntimeFailure
from tests.latency.conftest import build_program, formula_table, full_kernels

NAME = "residual"


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """The cost table of some machine, which knows the network."""
    program = build_program(NAME)
    kernels = full_kernels(NAME)
    table = formula_table(kernels)
    full = build_latency_model(program.coupling, kernels, table)
    latency = dict.fromkeys(("p50", "p90", "p99"), full.latency_ms(full.sizes))
    kernels = replace(kernels, latency_ms={**latency, "p90": 2 * latency["p50"]})
    path = tmp_path / "device.json"
    path.write_text(replace(table, networks={"n.onnx": kernels}).to_json())
    return path


def predicted(decided: Program, device: Path) -> float:
    table = CostTable.from_json(device.read_text())
    kernels = table.networks["n.onnx"]
    model = build_latency_model(decided.coupling, kernels, table)
    return model.latency_ms(model.counts_of(decided.plan)) / model.latency_ms(model.sizes)


@pytest.mark.parametrize("target", [0.8, 0.5, 0.35])
def test_a_ratio_is_met_from_below_for_another_machine(device: Path, target: float) -> None:
    program = build_program(NAME)
    one = Latency(target_latency=str(target), cost_table=str(device))
    decided = one(program, Context())
    assert not program.plan
    assert 0.7 * target < predicted(decided, device) <= target * (1 + 1e-6)
    note = decided.history[-1].notes[0]
    assert "measure it there" in note
    compressc.lower(decided)
    again = one(program, Context())
    assert again.plan.digest == decided.plan.digest


def test_the_goal_decides_where_the_pass_does_not(device: Path) -> None:
    program = build_program(NAME)
    by_goal = Latency(cost_table=str(device))(program, Context(Goal(latency_ms=0.5)))
    by_pass = Latency(target_latency="50%", cost_table=str(device))(program, Context())
    assert by_goal.plan.digest == by_pass.plan.digest
    with pytest.raises(GoalError, match="nothing to aim at"):
        Latency()(program, Context(Goal(macs=0.5)))


def test_times_count_at_the_percentile_they_are_asked_for(device: Path) -> None:
    program = build_program(NAME)
    table = CostTable.from_json(device.read_text())
    p50 = table.networks["n.onnx"].latency_ms["p50"]
    median = Latency(target_latency=f"{p50 / 2:.6f}ms", cost_table=str(device))
    tail = Latency(target_latency=f"{p50:.6f}ms@p90", cost_table=str(device))
    # The p90 of this machine is twice its p50, so both ask for half.
    assert median(program, Context()).plan.digest == tail(program, Context()).plan.digest


def test_what_is_out_of_reach_is_said_with_how_far_it_goes(device: Path) -> None:
    with pytest.raises(GoalError, match="the narrowest plan takes about") as caught:
        Latency(target_latency="0.001", cost_table=str(device))(build_program(NAME), Context())
    assert "\n" not in str(caught.value)


def test_a_table_of_another_network_or_of_other_threads_is_refused(
    device: Path, tmp_path: Path
) -> None:
    one = Latency(target_latency="0.5", cost_table=str(device))
    with pytest.raises(GoalError, match="compressc profile"):
        one(build_program("depthwise"), Context())
    with pytest.raises(GoalError, match="measured with 1 threads, not 2"):
        replace(one, latency_threads=2)(build_program(NAME), Context())
    with pytest.raises(RuntimeFailure, match="cannot be read"):
        replace(one, cost_table=str(tmp_path / "missing.json"))(build_program(NAME), Context())
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RuntimeFailure, match="not a cost table"):
        replace(one, cost_table=str(tmp_path / "bad.json"))(build_program(NAME), Context())


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"target_latency": "fast"}, GoalError),
        ({"target_latency": "120%"}, GoalError),
        ({"scope": "everywhere"}, PlanError),
        ({"norm": "l3"}, PlanError),
        ({"floor": 2.0}, GoalError),
        ({"latency_threads": 0}, GoalError),
        ({"measurements": -1}, GoalError),
    ],
)
def test_settings_out_of_range(settings: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        Latency(**settings)


Truth = Callable[[float], float]


@pytest.fixture
def this_machine(device: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Truth], list[float]]:
    """Make this machine one whose latency is a function of what the table predicts."""
    table = CostTable.from_json(device.read_text())
    kernels = table.networks["n.onnx"]
    monkeypatch.setattr("compressc.passes.latency.list_program", lambda *_: kernels)
    monkeypatch.setattr("compressc.passes.latency.table_for", lambda *_, **__: table)

    def with_truth(truth: Truth) -> list[float]:
        measured: list[float] = []

        def measurer(_one: object, _path: object, _bound: object, full_ms: float, _c: object):
            def measure(decided: Program) -> float:
                measured.append(truth(predicted(decided, device)) * full_ms)
                return measured[-1]

            return measure

        monkeypatch.setattr("compressc.passes.latency._measurer", measurer)
        return measured

    return with_truth


def test_a_prediction_that_is_off_is_corrected(
    this_machine: Callable[[Truth], list[float]], device: Path
) -> None:
    truth: Truth = lambda share: 0.25 + 0.75 * share  # noqa: E731 - parts that never shrink
    measured = this_machine(truth)
    decided = Latency(target_latency="0.6")(build_program(NAME), Context())
    assert truth(predicted(decided, device)) <= 0.606
    assert len(measured) > 1
    # The first candidate, which the table alone would have handed out, takes too long.
    assert measured[0] > 1.01 * min(measured)
    assert "candidates measured" in decided.history[-1].notes[0]


def test_a_table_that_is_too_pessimistic_does_not_refuse(
    this_machine: Callable[[Truth], list[float]], device: Path
) -> None:
    """The narrowest plan is measured before a target is called out of reach."""
    least = predicted(
        Latency(target_latency="0.2", cost_table=str(device))(build_program(NAME), Context()),
        device,
    )
    program = build_program(NAME)
    with pytest.raises(GoalError, match="narrowest"):
        Latency(target_latency="0.02", cost_table=str(device))(program, Context())
    assert least > 0.02
    this_machine(lambda share: 0.1 * share)
    decided = Latency(target_latency="0.02")(program, Context())
    assert 0.1 * predicted(decided, device) <= 0.02 * 1.01
    measured = this_machine(lambda share: 1.5 * share)
    with pytest.raises(GoalError, match="the narrowest plan takes about"):
        Latency(target_latency="0.02")(program, Context())
    assert measured


def test_a_right_prediction_is_measured_once(
    this_machine: Callable[[Truth], list[float]],
) -> None:
    measured = this_machine(lambda share: share)
    Latency(target_latency="0.5", measurements=3)(build_program(NAME), Context())
    assert len(measured) <= 2


def test_a_target_between_two_steps_is_explained(
    this_machine: Callable[[Truth], list[float]],
) -> None:
    this_machine(lambda share: 0.3 if share < 0.9 else 1.0)
    decided = Latency(target_latency="0.6")(build_program(NAME), Context())
    assert any("the target is missed by" in note for note in decided.history[-1].notes)


def test_a_whole_run_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("compressc.passes.latency._SECONDS", 0.2)
    seen: list[str] = []
    context = Context(Goal(latency_ms=0.8), progress=lambda _d, _t, text: seen.append(text))
    decided = Latency(measurements=1)(build_program(NAME), context)
    decided.coupling.check(decided.plan)
    assert "measured against a target" in decided.history[-1].notes[0]
    assert any("measuring" in text for text in seen)


def test_it_is_registered() -> None:
    assert find_pass("latency") is Latency
