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
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass, registered_passes
from compressc.coupling.graph import couple
from compressc.errors import CompresscError
from compressc.goal import Goal
from compressc.plan import Plan
from compressc.program import Constraints, Program
from tests.noise_tasks import Mimicry, Noise


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


@cache
def captured() -> Program:
    torch.manual_seed(0)
    return compressc.capture(Net().eval(), (torch.randn(2, 3, 8, 8),))


@pytest.fixture
def program() -> Program:
    return captured()


# Passes that need something to repair or to clean up: tested with it, in files of their own.
REPAIRING = {"calibrate", "dead"}
# Passes that aim at what is measured: equal seeds need not give equal plans.
MEASURING = {"latency"}
# Passes that train have a contract of their own: tests/test_training_contract.py.
TRAINING = {name for name in registered_passes() if find_pass(name).declares.runs_on == "lowered"}


@pytest.fixture(params=sorted(set(registered_passes()) - REPAIRING - MEASURING - TRAINING))
def one(request: pytest.FixtureRequest) -> Pass:
    return find_pass(request.param)()


# Passes that try out candidates on labelled data.
SEARCHING = {"ascai", "decore"}


def context(one: Pass, seed: int = 0, macs: float = 0.5) -> Context:
    if one.name in SEARCHING:
        return Context(Goal(macs=macs, seed=seed, trials=30), task=Mimicry(captured()))
    return Context(Goal(macs=macs, seed=seed), task=Noise(dtype=torch.float32, most=16))


def test_the_three_passes_of_the_house_are_registered():
    assert {"magnitude", "random", "sparsify"} <= set(registered_passes())


def test_an_unknown_pass_is_named_together_with_the_known_ones():
    with pytest.raises(CompresscError, match=r"'magnitued'.*magnitude"):
        find_pass("magnitued")


def test_it_is_a_frozen_dataclass_of_that_name(one):
    assert isinstance(one, Pass)
    assert find_pass(one.name) is type(one)
    assert one == type(one)()
    for field in dataclasses.fields(one):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, field.name, None)


def test_the_input_program_is_unchanged(one, program):
    state = {name: tensor.clone() for name, tensor in program.state().items()}
    code, history = program.graph_module.code, program.history
    one(program, context(one))
    assert not program.plan
    assert program.graph_module.code == code
    assert program.history == history
    for name, tensor in program.state().items():
        assert torch.equal(tensor, state[name])


def test_it_decides_something_that_fits_the_program(one, program):
    found = one(program, context(one))
    assert found.plan
    couple(program).check(found.plan)
    assert torch.isfinite(compressc.lower(found).graph_module(*program.example_inputs)).all()


def test_the_same_seed_gives_the_same_plan(one, program):
    again = program.with_constraints(Constraints())
    torch.manual_seed(1)
    first = one(program, context(one, seed=7)).plan.digest
    torch.manual_seed(2)
    assert one(again, context(one, seed=7)).plan.digest == first


def test_the_plan_survives_a_round_trip(one, program, tmp_path):
    plan = one(program, context(one)).plan
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


def test_kept_layers_stay_as_they_are(one, program):
    constrained = program.with_constraints(Constraints(keep=("a", "grouped")))
    plan = one(constrained, context(one, macs=0.9)).plan
    touched = {*plan.keep, *plan.rank, *(name.rpartition(".")[0] for name in plan.zero)}
    assert touched
    assert not touched & {"a", "grouped"}


def test_progress_is_reported_within_its_total(one, program):
    seen: list[tuple[int, int]] = []
    one(program, replace(context(one), progress=lambda done, total, _: seen.append((done, total))))
    assert all(0 <= done <= total for done, total in seen)
