"""The pass that removes what never changes: exact, within what partitions and steps allow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.frontend.tracing import capture
from compressc.goal import Goal
from compressc.lowering import constants
from compressc.lowering.lowered import lower
from compressc.passes.dead_channels import DeadChannels
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.settings import Settings


class Net(nn.Module):
    """Dead: 5 of 16 channels behind a ReLU (value 0), 3 of 12 with a shift, 1 per conv group."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.mid, self.shift = nn.Conv2d(16, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.grouped, self.after = nn.Conv2d(12, 12, 1, groups=2), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = nn.functional.silu(self.shift(self.mid(x)))
        return self.head(self.after(self.grouped(x)).mean((2, 3)))


@pytest.fixture
def program() -> Program:
    return build(torch.float64)


def build(dtype: torch.dtype) -> Program:
    torch.manual_seed(0)
    model = Net().eval().to(dtype)
    for norm in (model.norm, model.shift, model.after):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, 0.2, 1.0)
    with torch.no_grad():
        model.norm.weight[:5] = 0.0
        model.norm.bias[:5] = -0.5
        model.shift.weight[[0, 1, 6]] = 0.0
        model.after.weight[[2, 9, 10]] = 0.0
    return capture(model, (torch.randn(2, 3, 8, 8, dtype=dtype),))


def error(found: Program, program: Program) -> float:
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float((lower(found).graph_module(x) - program.graph_module(x)).abs().max())


def test_dead_channels_leave_and_the_output_stays(program):
    found = DeadChannels()(program, Context())
    kept = {name: int(mask.sum()) for name, mask in found.plan.keep.items()}
    # Two conv groups keep equally many channels: one dead one of three stays, twice.
    assert kept == {"stem": 11, "mid": 10, "grouped": 10}
    assert error(found, program) < 1e-12
    assert any("stay" in note for step in found.history for note in step.notes)


def test_without_the_constants_the_output_would_change(program):
    found = DeadChannels()(program, Context())
    assert error(program.with_plan(found.plan), program) > 1e-3


def test_the_channel_step_is_respected(program):
    stepped = program.with_constraints(Constraints(multiple_of=8))
    found = DeadChannels()(stepped, Context())
    # 11 living channels of 16 do not fit into 8.
    assert "stem" not in found.plan.keep
    assert any("multiple" in note for step in found.history for note in step.notes)


def test_decisions_of_earlier_passes_stay(program):
    keep = np.ones(16, dtype=bool)
    keep[8:] = False
    found = DeadChannels()(program.with_plan(Plan(keep={"stem": keep})), Context())
    assert found.plan.keep["stem"].tolist() == keep.tolist()


def test_the_driver_runs_it_without_a_goal():
    result = compressc.compress(
        build(torch.float32),
        goal=Goal(),
        passes=[DeadChannels()],
        multiple_of=1,
        settings=Settings(measure=False),
    )
    assert result.report.after.macs < result.report.before.macs
    assert any("removed" in note for row in result.report.passes for note in row.notes)


def test_ranks_that_are_pending_follow_the_channels_that_stay(program: Program) -> None:
    ranked = program.with_plan(Plan(rank={"mid": (4, 12)}))
    found = DeadChannels()(ranked, Context())
    # 11 of the 16 input channels are left, so a rank of 12 makes no sense any more.
    assert found.plan.rank == {"mid": (4, 11)}


class Unread(nn.Module):
    """Two readers of 12 channels; behind the first a grouped convolution and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.a, self.b = nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(12, 8, 1)
        self.grouped, self.head = nn.Conv2d(8, 8, 3, groups=2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.sigmoid(self.a(x)) * self.b(x)
        return self.head(self.grouped(x).mean((2, 3)))


def unread(*, everywhere: bool) -> Program:
    torch.manual_seed(0)
    model = Unread().eval()
    with torch.no_grad():
        model.a.weight[:, [1, 7]] = 0.0
        model.b.weight[:, [1, 7] if everywhere else [7, 8]] = 0.0
        model.grouped.weight[:4, 2] = 0.0
        model.grouped.weight[4:, 3] = 0.0
        model.head.weight[:, [0, 5]] = 0.0
    return capture(model.double(), (torch.randn(2, 3, 8, 8, dtype=torch.float64),))


def test_what_nothing_reads_leaves_and_nothing_else() -> None:
    program = unread(everywhere=True)
    decided = DeadChannels()(program, Context(Goal()))
    small = lower(decided)
    assert [i for i, stays in enumerate(decided.plan.keep["stem"]) if not stays] == [1, 7]
    # One of each conv group, and one output of each: both leave without a trace.
    assert small.state()["grouped.weight"].shape == (6, 3, 3, 3)
    assert error(small, program) < 1e-12
    partly = DeadChannels()(unread(everywhere=False), Context(Goal()))
    assert [i for i, stays in enumerate(partly.plan.keep["stem"]) if not stays] == [7]
    assert error(lower(partly), unread(everywhere=False)) < 1e-12


def test_a_channel_that_is_read_by_one_weight_alone_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = constants.find_unread

    def wrong(*arguments: Any) -> Any:
        unread_values = original(*arguments)
        return None if unread_values is None else np.ones_like(unread_values)

    monkeypatch.setattr(constants, "find_unread", wrong)
    program = unread(everywhere=True)
    assert error(lower(DeadChannels()(program, Context(Goal()))), program) > 1e-3
