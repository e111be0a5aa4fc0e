"""Passes that aim at a latency with decisions of their own."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.latency.latency_model import LatencyModel, build_latency_model
from compressc.passes.decore.agent_pruning import Decore
from compressc.passes.decore.trained_agents import TrainedAgents
from compressc.passes.gates.gated_units import find_gated_units
from compressc.program import Program
from compressc.runtime.cost_table import CostTable
from compressc.target import Target
from tests.latency.conftest import formula_table, kernels_of
from tests.rl_mcts.search_settings import make_search
from tests.search_kit import make_ascai, trained

DECORE = Decore(mode="constraint", epochs=1, agent_rate=0.3, first_weight=2.0)


@cache
def device(folder: Path) -> tuple[CostTable, LatencyModel]:
    """Return the cost table of some machine that knows the network, and what it predicts."""
    program, _ = trained()
    kernels = kernels_of(program, folder / "full.onnx")
    table = formula_table(kernels)
    table = replace(table, networks={"n.onnx": kernels})
    percentile = kernels.latency_ms["p50"]
    return table, build_latency_model(couple(program), kernels, table, percentile)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("device")


def predicted(found: Program, model: LatencyModel) -> float:
    return model.latency_ms(model.counts_of(found.plan)) / model.latency_ms(model.sizes)


def test_what_a_search_saves_is_what_the_table_predicts(folder: Path) -> None:
    program, task = trained()
    table, model = device(folder)
    search = make_ascai(
        population=8, generations=3, spaces=("ps",), score="latency", least_penalty=5.0
    )
    found = search(program, Context(Goal(), task=task, target=Target(cost_table=table)))
    saved = 1 - predicted(found, model)
    assert saved > 0
    score = float(found.history[-1].notes[0].split("score ")[1].split(",")[0])
    assert score == pytest.approx(saved / 5, rel=1e-3)


@pytest.mark.parametrize("target", [0.8, 0.6])
def test_games_end_where_the_predicted_latency_holds(folder: Path, target: float) -> None:
    program, task = trained()
    table, model = device(folder)
    goal, there = Goal(latency_ms=target, trials=12), Target(cost_table=table)
    found = make_search(units_per_move=1)(program, Context(goal, task=task, target=there))
    assert 0.8 * target < predicted(found, model) <= target
    numbers = found.history[-1].numbers
    share = numbers["predicted_latency_ms"] / numbers["original_latency_ms"]
    assert share == pytest.approx(predicted(found, model), rel=1e-6)
    with pytest.raises(GoalError, match=r"latency target .* cannot be reached"):
        make_search()(program, Context(Goal(latency_ms=0.01), task=task, target=there))


@pytest.mark.parametrize("target", [0.8, 0.6])
def test_agents_leave_until_the_predicted_latency_holds(folder: Path, target: float) -> None:
    program, task = trained()
    table, model = device(folder)
    there = Target(cost_table=table)
    found = DECORE(program, Context(Goal(latency_ms=target), task=task, target=there))
    assert 0.7 * target < predicted(found, model) <= target * (1 + 1e-6)
    both = Goal(latency_ms=target, macs=0.4)
    smaller = DECORE(program, Context(both, task=task, target=Target(cost_table=table)))
    assert cost_of(smaller).macs <= 0.4 * cost_of(program).macs
    assert predicted(smaller, model) <= target


def test_the_agents_decide_which_channels_leave(folder: Path, tmp_path: Path) -> None:
    program, task = trained()
    table, _ = device(folder)
    one = replace(DECORE, policies=str(tmp_path / "policies.npz"))
    context = Context(Goal(latency_ms=0.7), task=task, target=Target(cost_table=table))
    found = one(program, context)
    agents = find_gated_units(program)
    weights = TrainedAgents.load(tmp_path / "policies.npz", program, agents).weights
    cut = {name: mask for name, mask in found.plan.keep.items() if mask.any()}
    assert cut
    values = agents.by_group(weights)
    for name, mask in cut.items():
        assert values[name][mask].min() >= values[name][~mask].max()


def test_the_controller_needs_a_cost_to_steer_to(folder: Path) -> None:
    program, task = trained()
    table, _ = device(folder)
    for goal in (Goal(latency_ms=0.7), Goal()):
        context = Context(goal, task=task, target=Target(cost_table=table))
        with pytest.raises(GoalError, match="give --target-flops"):
            replace(DECORE, mode="joint", adapt_penalty=True)(program, context)
