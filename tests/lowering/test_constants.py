"""Dead channels leave without a trace where their constant can be folded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressc.coupling.graph import cost_of
from compressc.frontend.tracing import capture
from compressc.lowering.constants import absorb_constants, find_dead
from compressc.lowering.lowered import lower
from compressc.plan import Plan
from compressc.program import Program


class _Net(nn.Module):
    def __init__(self, padding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 12, 3, padding=padding, bias=False, groups=2)
        self.bn2 = nn.BatchNorm2d(12)
        self.conv3 = nn.Conv2d(12, 8, 1)
        self.fc = nn.Linear(8 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.bn1(self.conv1(x)))
        x = nn.functional.silu(self.bn2(self.conv2(x)))
        x = nn.functional.adaptive_avg_pool2d(self.conv3(x).relu(), 2)
        return self.fc(x.flatten(1))


def _program(padding: int) -> tuple[Program, nn.Module, Tensor]:
    torch.manual_seed(0)
    model = _Net(padding).eval().double()
    for norm in (model.bn1, model.bn2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.uniform_(0.2, 1.0)
    model.bn1.weight.data[[0, 3, 9, 12]] = 0.0
    model.bn2.weight.data[[1, 7]] = 0.0
    model.conv3.weight.data[2] = 0.0
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    return capture(model, (x,)), model, x


def _error(program: Program, model: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((lower(program).graph_module(x) - model(x)).abs().max())


def test_dead_channels_leave_exactly() -> None:
    program, model, x = _program(padding=0)
    dead = find_dead(program)
    assert {name: np.flatnonzero(units).tolist() for name, units in dead.items()} == {
        "conv1": [0, 3, 9, 12],
        "conv2": [1, 7],
        "conv3": [2],
    }
    planned = program.with_plan(Plan(keep={name: ~units for name, units in dead.items()}))
    assert _error(planned, model, x) > 1e-3
    absorbed = absorb_constants(planned)
    assert not absorbed.refused
    assert _error(absorbed.program, model, x) < 1e-12
    assert cost_of(lower(absorbed.program)).macs < 0.75 * cost_of(program).macs


def test_the_whole_network_stays_the_same_and_twice_is_once() -> None:
    program, model, x = _program(padding=0)
    dead = find_dead(program)
    plan = Plan(keep={name: ~units for name, units in dead.items()})
    once = absorb_constants(program.with_plan(plan))
    with torch.no_grad():
        assert float((once.program.graph_module(x) - model(x)).abs().max()) < 1e-12
    twice = absorb_constants(once.program)
    assert once.folded
    assert not twice.folded
    assert twice.program is once.program


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.first(x)).relu()
        return torch.stack([self.last(h), self.last(h * 2)])


def test_a_weight_that_two_places_read_is_refused() -> None:
    torch.manual_seed(0)
    model = _Tied().eval()
    model.norm.weight.data[3] = 0.0
    model.norm.bias.data[3] = 1.0
    program = capture(model, (torch.randn(2, 6),))
    planned = program.with_plan(Plan(keep={"first": np.arange(8) != 3}))
    absorbed = absorb_constants(planned)
    assert absorbed.program is planned
    assert all("shares its weight" in reason for reason in absorbed.refused)
    assert absorbed.refused


def test_padding_is_refused_with_a_reason() -> None:
    program, _, _ = _program(padding=1)
    assert "conv1" not in find_dead(program)
    keep = np.ones(16, dtype=bool)
    keep[[0, 3, 9, 12]] = False
    absorbed = absorb_constants(program.with_plan(Plan(keep={"conv1": keep})))
    assert not absorbed.folded
    assert any("border" in reason for reason in absorbed.refused)


def test_channels_that_vary_are_left_alone() -> None:
    program, _, _ = _program(padding=0)
    keep = np.ones(12, dtype=bool)
    keep[[0, 6]] = False
    planned = program.with_plan(Plan(keep={"conv2": keep}))
    absorbed = absorb_constants(planned)
    assert absorbed.program is planned
    assert not absorbed.folded


@pytest.mark.parametrize("padding", [0, 1])
def test_the_input_program_is_unchanged(padding: int) -> None:
    program, model, x = _program(padding)
    dead = find_dead(program)
    absorb_constants(program.with_plan(Plan(keep={name: ~units for name, units in dead.items()})))
    with torch.no_grad():
        assert torch.equal(program.graph_module(x), model(x))
