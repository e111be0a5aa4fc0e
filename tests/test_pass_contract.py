"""What every registered pass promises, whoever wrote it (see compressc.contract)."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.contract.declaration import DECISIONS, Pass
from compressc.contract.enforcement import check_changes, check_needs
from compressc.contract.registry import find_pass, registered_passes
from compressc.errors import ChoiceError, CompresscError, DataError
from compressc.goal import Goal
from compressc.pass_fields import build_pass
from compressc.plan import Plan
from compressc.program import Constraints, Program
from tests.noise_tasks import Mimicry


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.a, self.b = nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 16, 3, padding=1)
        self.grouped, self.fc = nn.Conv2d(16, 24, 3, groups=2), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.b(torch.relu(self.a(x)))
        return self.fc(self.grouped(x).mean((2, 3)))


class Supernet(Net):
    """The same with a choice: what passes are for that decide architectures."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        value = self.b(torch.relu(self.a(x)))
        x = x + compressc.choose([torch.zeros_like(value), value], "skip")
        return self.fc(self.grouped(compressc.choose([x, torch.relu(x)], "relu")).mean((2, 3)))


@cache
def supernet() -> Program:
    torch.manual_seed(0)
    return compressc.capture(Supernet().eval(), (torch.randn(2, 3, 8, 8),))


@cache
def captured() -> Program:
    torch.manual_seed(0)
    net = Net().eval()
    # Passes may look for channels that never change: here one in each half of what the grouped
    # convolution reads, which must keep as many of both.
    with torch.no_grad():
        for parameter in (net.norm.weight, net.norm.bias, net.b.weight, net.b.bias):
            parameter[[3, 11]] = 0.0
    return compressc.capture(net, (torch.randn(2, 3, 8, 8),))


@pytest.fixture
def program() -> Program:
    return captured()


# The groups follow from what passes declare. Passes that run on lowered programs have a contract of
# their own: tests/test_training_contract.py.
PASSES = sorted(
    name for name in registered_passes() if find_pass(name).declares.runs_on == "planned"
)
MEASURING = {name for name in PASSES if not find_pass(name).declares.deterministic}
# Passes that decide choices alone: about blocks, by what samples say, or about architectures.
DECIDING = {name for name in PASSES if find_pass(name).declares.changes == {"choice"}}
SHORTENING = {name for name in DECIDING if find_pass(name).declares.needs == "samples"}
CHOOSING = DECIDING - SHORTENING
REPAIRING = {name for name in PASSES if not find_pass(name).declares.changes & DECISIONS}


# The usual settings of these take seconds to minutes per call.
QUICK: dict[str, dict[str, object]] = {
    "rl-mcts": {"simulations": 4, "net_epochs": 3},
    "scas": {"epochs": 1, "controller_steps": 2, "children": 2, "recalibrate": 16},
}


@pytest.fixture(params=sorted(set(PASSES) - MEASURING))
def method(request: pytest.FixtureRequest) -> Pass:
    return build_pass(find_pass(request.param), QUICK.get(request.param, {}))


@pytest.fixture
def start(method: Pass, program: Program) -> Program:
    """What the pass is called with: a pass that decides nothing needs something to repair."""
    if method.name in REPAIRING:
        return find_pass("magnitude")()(program, Context(Goal(macs=0.5)))
    return supernet() if method.name in CHOOSING else program


def context(seed: int = 0, macs: float = 0.5) -> Context:
    return Context(Goal(macs=macs, seed=seed, trials=30), task=Mimicry(captured()))


def test_passes_are_registered():
    assert {"magnitude", "random", "sparsify"} <= set(PASSES)
    assert {"latency"} == MEASURING
    assert {"calibrate"} == REPAIRING
    assert {"scas"} == CHOOSING
    assert {"depth"} == SHORTENING


def test_an_unknown_pass_is_named_together_with_the_known_ones():
    with pytest.raises(CompresscError, match=r"'magnitued'.*magnitude"):
        find_pass("magnitued")


def test_it_is_a_frozen_dataclass_of_that_name(method):
    assert isinstance(method, Pass)
    assert find_pass(method.name) is type(method)
    assert method == replace(method)
    for field in dataclasses.fields(method):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(method, field.name, None)


def test_the_input_program_is_unchanged(method, start):
    state = {name: tensor.clone() for name, tensor in start.state().items()}
    code, history, plan = start.graph_module.code, start.history, start.plan.digest
    method(start, context())
    assert start.plan.digest == plan
    assert start.graph_module.code == code
    assert start.history == history
    for name, tensor in start.state().items():
        assert torch.equal(tensor, state[name])


def test_it_changes_something_that_it_declares_and_nothing_else(method, start):
    result = method(start, context())
    check_changes(method, start, result)
    assert result.plan != start.plan or method.name in REPAIRING
    assert result.plan
    if method.name in REPAIRING:
        before, after = start.state(), result.state()
        assert any(not torch.equal(before[name], after[name]) for name in before)
    assert torch.isfinite(compressc.lower(result).graph_module(*start.example_inputs)).all()


def test_the_same_seed_gives_the_same_result(method, start):
    again = replace(start, _derived={})
    torch.manual_seed(1)
    first = method(start, context(seed=7))
    torch.manual_seed(2)
    second = method(again, context(seed=7))
    assert second.plan.digest == first.plan.digest
    for name, tensor in first.state().items():
        assert torch.equal(second.state()[name], tensor)


def test_the_plan_survives_a_round_trip(method, start, tmp_path):
    plan = method(start, context()).plan
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


def test_kept_layers_stay_as_they_are(method, program):
    if method.name in REPAIRING | CHOOSING:
        return  # it decides nothing about layers
    constrained = program.with_constraints(Constraints(keep=("a", "grouped")))
    if method.name in SHORTENING:
        # The layer stands in the only block.
        with pytest.raises(ChoiceError, match="every residual block has to stay"):
            method(constrained, context(macs=0.9))
        return
    plan = method(constrained, context(macs=0.9)).plan
    touched = {*plan.keep, *plan.rank, *(name.rpartition(".")[0] for name in plan.zero)}
    assert touched
    assert not touched & {"a", "grouped"}


def test_progress_is_reported_within_its_total(method, start):
    seen: list[tuple[int, int]] = []
    method(start, replace(context(), progress=lambda done, total, _: seen.append((done, total))))
    assert all(0 <= done <= total for done, total in seen)


def test_what_it_needs_is_asked_for_in_one_line(method, start):
    if method.declares.needs == "nothing":
        check_needs(method, start, Context(Goal(macs=0.5)))
        return
    with pytest.raises(DataError, match=rf"{method.name} needs .*--data") as caught:
        check_needs(method, start, Context(Goal(macs=0.5)))
    assert "\n" not in str(caught.value)
