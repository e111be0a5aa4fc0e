"""The pass: targets, another machine's table, and the correction by measuring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compressc
from compressc.contract.context import Context
from compressc.contract.registry import find_pass
from compressc.coupling.graph import cost_of, couple
from compressc.errors import GoalError, PlanError
from compressc.goal import Goal
from compressc.latency.latency_model import build_latency_model
from compressc.passes.latency.knapsack import LatencyAllocation
from compressc.passes.latency.pruning import Latency
from compressc.passes.latency.search import LatencySearch
from compressc.passes.magnitude import Magnitude
from compressc.passes.sparsify import Sparsify
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.runtime.cost_store import read_table
from compressc.runtime.cost_table import CostTable
from compressc.target import Target
from tests.latency.conftest import build_program, formula_table, full_kernels

NAME = "residual"


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """The cost table of some machine, which knows the network."""
    program = build_program(NAME)
    kernels = full_kernels(NAME)
    table = formula_table(kernels)
    full = build_latency_model(couple(program), kernels, table)
    latency = dict.fromkeys(("p50", "p90", "p99"), full.latency_ms(full.sizes))
    kernels = replace(kernels, latency_ms={**latency, "p90": 2 * latency["p50"]})
    path = tmp_path / "device.json"
    path.write_text(replace(table, networks={"n.onnx": kernels}).to_json())
    return path


def aiming_at(target: float | str, device: Path | None = None) -> Context:
    table = read_table(device) if device else None
    return Context(Goal(latency_ms=target), target=Target(cost_table=table))


def predicted(decided: Program, device: Path) -> float:
    table = CostTable.from_json(device.read_text())
    kernels = table.networks["n.onnx"]
    model = build_latency_model(couple(decided), kernels, table)
    return model.latency_ms(model.counts_of(decided.plan)) / model.latency_ms(model.sizes)


@pytest.mark.parametrize("target", [0.8, 0.5, 0.35])
def test_a_ratio_is_met_from_below_for_another_machine(device: Path, target: float) -> None:
    program = build_program(NAME)
    decided = Latency()(program, aiming_at(target, device))
    assert not program.plan
    assert 0.7 * target < predicted(decided, device) <= target * (1 + 1e-6)
    note = decided.history[-1].notes[0]
    assert "measure it there" in note
    compressc.lower(decided)
    again = Latency()(program, aiming_at(target, device))
    assert again.plan.digest == decided.plan.digest


def test_without_a_target_there_is_nothing_to_aim_at() -> None:
    with pytest.raises(GoalError, match="nothing to aim at"):
        Latency()(build_program(NAME), Context(Goal()))


@pytest.mark.parametrize("target", [0.7, 0.4])
def test_without_a_latency_the_fastest_plan_of_a_cost_is_sought(
    device: Path, target: float
) -> None:
    program = build_program(NAME)
    context = Context(Goal(macs=target), target=Target(cost_table=read_table(device)))
    fast = Latency()(program, context)
    assert (
        0.8 * target * cost_of(program).macs < cost_of(fast).macs <= target * cost_of(program).macs
    )
    assert "not measured" in fast.history[-1].notes[0] or "measure it" in fast.history[-1].notes[0]
    block = CostTable.from_json(device.read_text()).block
    even = Magnitude()(program.with_constraints(Constraints(multiple_of=block)), context)
    assert predicted(fast, device) <= predicted(even, device)
    # Steps are wide here, so that the even cut may be the best; not at both targets.
    assert target > 0.5 or predicted(fast, device) < predicted(even, device)
    with pytest.raises(GoalError, match=r"0.0001 cannot be reached: choosing widths"):
        Latency()(program, replace(context, goal=Goal(macs=0.0001)))


def find_only_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the search give the original, so that any even cut is faster."""
    monkeypatch.setattr(
        LatencySearch,
        "_choose",
        lambda self, _: LatencyAllocation(
            np.array([ladder.steps for ladder in self.allocator.ladders]), self.full_ms
        ),
    )


def test_an_even_cut_keeps_zeros_and_ranks_that_are_pending(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(Goal(macs=0.6), target=Target(cost_table=read_table(device)))
    ranked = build_program(NAME).with_plan(Plan(rank={"a.0": (64, 32)}))
    program = Sparsify(sparsity=0.9)(ranked, context)
    zeros = {name: mask.copy() for name, mask in program.plan.zero.items()}
    assert zeros
    find_only_the_original(monkeypatch)
    decided = Latency()(program, context)
    assert "an even cut is the fastest" in decided.history[-1].notes[0]
    assert {name: mask.tolist() for name, mask in decided.plan.zero.items()} == {
        name: mask.tolist() for name, mask in zeros.items()
    }
    assert set(decided.plan.rank) == {"a.0"}
    assert decided.plan.keep
    assert cost_of(decided).macs <= 0.6 * couple(program).cost(Plan()).macs


def test_an_even_cut_says_which_layers_are_no_longer_factorised(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(Goal(macs=0.1), target=Target(cost_table=read_table(device)))
    program = build_program(NAME).with_plan(Plan(rank={"a.0": (76, 44)}))
    find_only_the_original(monkeypatch)
    decided = Latency(floor=0.0)(program, context)
    assert not decided.plan.rank
    assert "a.0 is not factorised: it is cheaper whole now" in decided.history[-1].notes


def test_an_even_cut_is_taken_where_it_is_the_fastest(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = build_program(NAME)
    context = Context(Goal(macs=0.6), target=Target(cost_table=read_table(device)))
    find_only_the_original(monkeypatch)
    decided = Latency()(program, context)
    block = CostTable.from_json(device.read_text()).block
    even = Magnitude()(program.with_constraints(Constraints(multiple_of=block)), context)
    assert decided.plan.digest == even.plan.digest
    assert "an even cut is the fastest" in decided.history[-1].notes[0]


def test_times_count_at_the_percentile_they_are_asked_for(device: Path) -> None:
    program = build_program(NAME)
    table = CostTable.from_json(device.read_text())
    p50 = table.networks["n.onnx"].latency_ms["p50"]
    median = Latency()(program, aiming_at(f"{p50 / 2:.6f}ms", device))
    tail = Latency()(program, aiming_at(f"{p50:.6f}ms@p90", device))
    # The p90 of this machine is twice its p50, so both ask for half.
    assert median.plan.digest == tail.plan.digest


def test_what_is_out_of_reach_is_said_with_how_far_it_goes(device: Path) -> None:
    with pytest.raises(GoalError, match="the narrowest plan takes about") as caught:
        Latency()(build_program(NAME), aiming_at(0.001, device))
    assert "\n" not in str(caught.value)


def test_a_table_of_another_network_is_refused(device: Path) -> None:
    with pytest.raises(GoalError, match="compressc profile"):
        Latency()(build_program("depthwise"), aiming_at(0.5, device))


def test_a_model_that_was_made_smaller_before_is_refused(device: Path) -> None:
    small = compressc.lower(Latency()(build_program(NAME), aiming_at(0.5, device)))
    context = replace(aiming_at(0.5, device), original=build_program(NAME))
    with pytest.raises(GoalError, match="in front of passes that train"):
        Latency()(small, context)


def test_other_bounds_hold_as_well(device: Path) -> None:
    program = build_program(NAME)
    context = aiming_at(0.8, device)
    decided = Latency()(program, replace(context, goal=replace(context.goal, macs=0.4)))
    assert cost_of(decided).macs <= 0.4 * cost_of(program).macs
    assert predicted(decided, device) <= 0.8
    loose = Latency()(program, replace(context, goal=replace(context.goal, macs=0.9)))
    assert loose.plan.digest == Latency()(program, context).plan.digest
    with pytest.raises(GoalError, match=r"0.0001 cannot be reached: choosing widths") as caught:
        Latency()(program, replace(context, goal=replace(context.goal, macs=0.0001)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"scope": "everywhere"}, PlanError),
        ({"norm": "l3"}, PlanError),
        ({"floor": 2.0}, GoalError),
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
    monkeypatch.setattr("compressc.passes.latency.prediction.list_program", lambda *_: kernels)
    monkeypatch.setattr("compressc.passes.latency.prediction.table_for", lambda *_, **__: table)

    def with_truth(truth: Truth) -> list[float]:
        measured: list[float] = []

        def measurer(_path: object, _bound: object, full_ms: float, _c: object):
            def measure(decided: Program) -> float:
                measured.append(truth(predicted(decided, device)) * full_ms)
                return measured[-1]

            return measure

        monkeypatch.setattr("compressc.passes.latency.meeting.measure_beside", measurer)
        return measured

    return with_truth


def test_a_prediction_that_is_off_is_corrected(
    this_machine: Callable[[Truth], list[float]], device: Path
) -> None:
    truth: Truth = lambda share: 0.25 + 0.75 * share  # noqa: E731 - parts that never shrink
    measured = this_machine(truth)
    decided = Latency()(build_program(NAME), aiming_at(0.6))
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
        Latency()(build_program(NAME), aiming_at(0.2, device)),
        device,
    )
    program = build_program(NAME)
    with pytest.raises(GoalError, match="narrowest"):
        Latency()(program, aiming_at(0.02, device))
    assert least > 0.02
    this_machine(lambda share: 0.1 * share)
    decided = Latency()(program, aiming_at(0.02))
    assert 0.1 * predicted(decided, device) <= 0.02 * 1.01
    measured = this_machine(lambda share: 1.5 * share)
    with pytest.raises(GoalError, match="the narrowest plan takes about"):
        Latency()(program, aiming_at(0.02))
    assert measured


def test_a_right_prediction_is_measured_once(
    this_machine: Callable[[Truth], list[float]],
) -> None:
    measured = this_machine(lambda share: share)
    Latency(measurements=3)(build_program(NAME), aiming_at(0.5))
    assert len(measured) <= 2


def test_a_target_between_two_steps_is_explained(
    this_machine: Callable[[Truth], list[float]],
) -> None:
    this_machine(lambda share: 0.3 if share < 0.9 else 1.0)
    decided = Latency()(build_program(NAME), aiming_at(0.6))
    assert any("the target is missed by" in note for note in decided.history[-1].notes)


@pytest.mark.slow
def test_a_whole_run_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("compressc.passes.latency.meeting._SECONDS", 0.2)
    seen: list[str] = []
    context = Context(Goal(latency_ms=0.8), progress=lambda _d, _t, text: seen.append(text))
    decided = Latency(measurements=1)(build_program(NAME), context)
    couple(decided).check(decided.plan)
    assert "of the original at p50" in decided.history[-1].notes[0]
    assert "by the cost table) measured beside the original" in decided.history[-1].notes[0]
    assert any("measuring" in text for text in seen)


def test_it_is_registered() -> None:
    assert find_pass("latency") is Latency
