"""What every registered pass that trains promises (see compressc.contract)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import compressc
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass, registered_passes
from compressc.coupling.graph import cost_of
from compressc.goal import Goal
from compressc.plan import Plan
from compressc.program import Program
from tests.passes.training_kit import assert_same_weights, differ, make_program, make_task

TRAINING = sorted(
    name for name in registered_passes() if find_pass(name).declares.runs_on == "lowered"
)


@cache
def lowered() -> Program:
    """Return a pruned network in which half of the last weights are zero on purpose."""
    program = make_program()
    zero = np.arange(4 * 12).reshape(4, 12) % 2 == 0
    keep = {"a": np.arange(8) % 4 > 0}
    return compressc.lower(program.with_plan(Plan(keep=keep, zero={"fc.weight": zero})))


def context(seed: int = 0, work_dir: Path | None = None) -> Context:
    task = make_task(train=64)
    return Context(Goal(seed=seed), task=task, work_dir=work_dir, original=make_program())


@pytest.fixture(params=TRAINING)
def one(request: pytest.FixtureRequest) -> Pass:
    return find_pass(request.param)(epochs=2, learning_rate=0.1)  # type: ignore[call-arg]


def test_the_passes_of_the_house_are_registered() -> None:
    assert {"distill", "finetune"} <= set(TRAINING)


def test_only_weights_change_and_only_in_the_result(one: Pass) -> None:
    program = lowered()
    before = {name: tensor.clone() for name, tensor in program.state().items()}
    result = one(program, context())
    assert differ(result, program)
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state().items())
    assert result.graph_module.code == program.graph_module.code
    assert bool(result.plan) == ("zero" in one.declares.changes)
    assert result.plan == Plan(zero=result.plan.zero)
    assert cost_of(result) == cost_of(program)
    assert result.history[-1].name == one.name


def test_the_same_seed_gives_the_same_weights(one: Pass, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = one(lowered(), context(seed=7))
    torch.manual_seed(2)
    assert_same_weights(first, one(lowered(), context(seed=7, work_dir=tmp_path / "state")))


def test_decided_zeros_stay_zero(one: Pass) -> None:
    program = lowered()
    assert program.sparse_weights == ("fc.weight",)
    result = one(program, context())
    still = program.state()["fc.weight"] == 0
    now = result.state()["fc.weight"] == 0
    assert bool(now[still].all())
    assert torch.equal(now, still) or "zero" in one.declares.changes
    assert result.sparse_weights == program.sparse_weights


def test_progress_is_reported_within_its_total(one: Pass) -> None:
    seen: list[tuple[int, int]] = []
    watched = replace(context(), progress=lambda done, total, _: seen.append((done, total)))
    one(lowered(), watched)
    assert seen
    assert all(0 <= done <= total for done, total in seen)
