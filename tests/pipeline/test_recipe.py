"""Recipes: several lowerings in a row, each proven; zeros that stay zeros."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.compression import compress
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.contract.registry import find_pass
from compressc.coupling.graph import cost_of
from compressc.errors import GoalError, VerificationError
from compressc.goal import Goal
from compressc.pipeline import recipe
from compressc.plan import Plan
from compressc.program import Program
from compressc.settings import Settings
from tests.small_networks import seeded_program

QUICK = Settings(measure=False)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 1)
        self.fc = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).relu()
        x = x + self.conv2(x).relu()
        return self.fc(self.conv3(x).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    return seeded_program(Net)


@dataclass(frozen=True)
class Nudge(Pass):
    """Stands for training: moves every weight a little, but no zero that was decided."""

    seen: list[Program] = field(default_factory=list)
    contexts: list[Context] = field(default_factory=list)
    name: ClassVar[str] = "nudge"
    declares: ClassVar[Declaration] = Declaration(runs_on="lowered", changes=frozenset({"weights"}))

    def __call__(self, program: Program, context: Context) -> Program:
        self.seen.append(program)
        self.contexts.append(context)
        generator = torch.Generator().manual_seed(context.goal.seed)
        state = {}
        for name, tensor in program.state().items():
            noise = 0.01 * torch.randn(tensor.shape, generator=generator)
            still = (tensor == 0) & (name in program.sparse_weights)
            state[name] = torch.where(still, tensor, tensor + noise)
        return program.with_state(state)


def magnitude(ratio: float) -> Pass:
    """Prune to a keep ratio, whatever the goal is."""
    return find_pass("magnitude")(ratios=(("conv*", ratio),))  # type: ignore[call-arg]


def test_training_sees_the_small_program_and_the_original(program: Program) -> None:
    nudge = Nudge()
    result = compress(
        program,
        goal=Goal(macs=0.5),
        passes=[find_pass("magnitude")(), nudge],
        multiple_of=4,
        settings=QUICK,
    )
    assert not nudge.seen[0].plan
    assert cost_of(nudge.seen[0]) == cost_of(result.program)
    assert nudge.contexts[0].original is not None
    assert cost_of(nudge.contexts[0].original) == cost_of(program)
    small = nudge.seen[0].state()["fc.weight"]
    assert not torch.equal(result.program.state()["fc.weight"], small)
    assert [row.name for row in result.report.passes] == ["magnitude", "nudge"]


def test_every_lowering_is_proven_and_reported(program: Program) -> None:
    nudge = Nudge()
    passes = [magnitude(0.75), nudge, magnitude(0.5), nudge]
    result = compress(program, goal=Goal(), passes=passes, multiple_of=4, settings=QUICK)
    assert [check.name for check in result.report.verdict.checks] == [
        "lowered == masked",
        "predicted cost == built cost",
        "lowered == masked, lowering 2",
        "predicted cost == built cost, lowering 2",
        "torch == ONNX Runtime",
    ]
    first, second = nudge.seen
    assert (
        cost_of(program).macs
        > cost_of(first).macs
        > cost_of(second).macs
        == cost_of(result.program).macs
    )
    assert len(result.plans) == 2
    properties = {entry.key: entry.value for entry in result.onnx.metadata_props}
    assert properties["compressc.plan"].split(", ") == [plan.digest for plan in result.plans]
    assert "lowered == masked, lowering 2" in json.loads(properties["compressc.verified"])
    rows = {row.name: row for row in result.report.layers}
    assert rows["conv3"].widths_before == (32, 64)
    assert rows["conv3"].widths_after == (12, 24)
    assert sum(row.params_after for row in rows.values()) > 0


def test_a_wrong_second_lowering_is_caught(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = recipe.lower, []

    def wrong(planned: Program) -> Program:
        lowered = real(planned)
        calls.append(planned)
        if len(calls) < 2:
            return lowered
        state = {name: value.clone() for name, value in lowered.state().items()}
        state["conv2.weight"][0] = state["conv2.weight"][1]
        return lowered.with_state(state)

    monkeypatch.setattr(recipe, "lower", wrong)
    with pytest.raises(VerificationError, match="lowered == masked, lowering 2"):
        compress(
            program,
            goal=Goal(),
            passes=[magnitude(0.75), Nudge(), magnitude(0.5)],
            multiple_of=4,
            settings=QUICK,
        )


@dataclass(frozen=True)
class Trim(Pass):
    """Drops a quarter of conv3, whatever the goal is."""

    name: ClassVar[str] = "trim"

    def __call__(self, program: Program, context: Context) -> Program:
        return program.with_plan(Plan(keep={"conv3": np.arange(64) < 48}))


def test_a_share_is_a_share_of_the_original_however_often_it_is_lowered(program: Program) -> None:
    passes = [Trim(), Nudge(), find_pass("magnitude")()]
    result = compress(program, goal=Goal(macs=0.4), passes=passes, multiple_of=4, settings=QUICK)
    assert 0.3 < cost_of(result.program).macs / cost_of(program).macs <= 0.4


def test_a_finer_step_is_sought_without_training_again(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressc.target.channel_multiple", lambda _machine: 16)
    nudge = Nudge()
    result = compress(
        program, goal=Goal(macs=0.05), passes=[find_pass("magnitude")(), nudge], settings=QUICK
    )
    assert result.report.multiple_of < 16
    assert len(nudge.seen) == 1
    with pytest.raises(GoalError):
        compress(program, goal=Goal(macs=1e-6), passes=[find_pass("magnitude")(), nudge])
    assert len(nudge.seen) == 1


def test_training_alone_is_a_recipe(program: Program) -> None:
    result = compress(program, goal=Goal(), passes=[Nudge()], settings=QUICK)
    assert cost_of(result.program) == cost_of(program)
    assert result.report.verdict.checks[0].name == "lowered == masked"


def zeros(program: Program) -> dict[str, np.ndarray]:
    state = program.state()
    return {name: (state[name] == 0).numpy() for name in program.sparse_weights}


def test_decided_zeros_stay_zeros_through_training_and_pruning(program: Program) -> None:
    sparsify = find_pass("sparsify")(sparsity=0.8)  # type: ignore[call-arg]
    nudge = Nudge()
    result = compress(
        program,
        goal=Goal(),
        passes=[sparsify, nudge, magnitude(0.5), nudge],
        multiple_of=4,
        settings=QUICK,
    )
    assert nudge.seen[0].sparse_weights == ("conv2.weight", "conv3.weight")
    assert result.program.sparse_weights == nudge.seen[0].sparse_weights
    found = zeros(result.program)
    assert found["conv2.weight"].mean() > 0.6
    before = zeros(nudge.seen[1])
    assert all(np.array_equal(found[name], before[name]) for name in found)


@dataclass(frozen=True)
class Overwrite(Pass):
    """A deciding pass that gives every weight a new value."""

    name: ClassVar[str] = "overwrite"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"weights"}))

    def __call__(self, program: Program, context: Context) -> Program:
        return program.with_state({name: t + 1.0 for name, t in program.state().items()})


def test_a_later_pass_cannot_fill_the_zeros(program: Program) -> None:
    sparsify = find_pass("sparsify")(sparsity=0.8)  # type: ignore[call-arg]
    nudge = Nudge()
    result = compress(program, goal=Goal(), passes=[sparsify, nudge, Overwrite()], settings=QUICK)
    before, found = zeros(nudge.seen[0]), zeros(result.program)
    assert found["conv2.weight"].any()
    assert all(np.array_equal(found[name], before[name]) for name in before)


def test_sparse_weights_survive_a_file_and_new_weights(program: Program, tmp_path: Path) -> None:
    mask = np.ones((32, 32, 3, 3), dtype=bool)
    mask[::2] = False
    lowered = compressc.lower(program.with_plan(Plan(zero={"conv2.weight": mask})))
    assert lowered.sparse_weights == ("conv2.weight",)
    assert lowered.with_state(lowered.state()).sparse_weights == ("conv2.weight",)
    compressc.save(lowered, tmp_path / "sparse.pt2")
    assert compressc.load(tmp_path / "sparse.pt2").sparse_weights == ("conv2.weight",)


def test_factorised_layers_are_one_row(program: Program) -> None:
    planned = program.with_plan(Plan(rank={"conv2": (8, 8), "conv3": (8,)}))
    result = compress(planned, goal=Goal(), passes=(), settings=QUICK)
    rows = {row.name: row for row in result.report.layers}
    assert list(rows) == ["conv1", "conv2", "conv3", "fc"]
    assert rows["conv2"].widths_after == (32, 32)
    assert rows["conv2"].params_after == 8 * 32 + 8 * 8 * 9 + 32 * 8
    assert sum(row.macs_after for row in rows.values()) == result.report.after.macs
