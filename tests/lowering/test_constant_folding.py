"""Constants of removed channels in a recipe: folded once, told, and never against the goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.compression import Result, compress
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass
from compressc.coupling.graph import cost_of
from compressc.goal import Goal
from compressc.plan import Plan
from compressc.program import Program
from compressc.settings import Settings

DEAD = np.arange(16) < 4


class Net(nn.Module):
    """A quarter of the channels carries constants; ``padding`` decides whether they can fold."""

    def __init__(self, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.next = nn.Conv2d(16, 8, 3, padding=padding, bias=False)
        self.fc = nn.Linear(8, 4)
        with torch.no_grad():
            self.norm.weight[torch.from_numpy(DEAD)] = 0.0
            self.norm.bias.fill_(0.7)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.next(self.norm(self.conv(x)).relu()).mean((2, 3)))


def capture(padding: int = 0) -> Program:
    torch.manual_seed(0)
    return compressc.capture(Net(padding).eval(), (torch.randn(2, 3, 8, 8),))


@dataclass(frozen=True)
class Bury(Pass):
    """Removes the dead channels."""

    name: ClassVar[str] = "bury"

    def __call__(self, program: Program, context: Context) -> Program:
        return program.with_plan(Plan(keep={"conv": ~DEAD}))


@dataclass(frozen=True)
class Repair(Pass):
    """Makes up for the constants by itself, as least squares would."""

    name: ClassVar[str] = "repair"

    def __call__(self, program: Program, context: Context) -> Program:
        state = {name: tensor.clone() for name, tensor in program.state().items()}
        return program.with_state(state)


def run(program: Program, *passes: object, **goal: float) -> Result:
    return compress(
        program,
        goal=Goal(**goal),
        passes=passes,
        settings=Settings(measure=False),  # type: ignore[arg-type]
    )


def error(program: Program, result: Result) -> float:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float((result.program.module()(x) - program.module()(x)).abs().max())


def test_dead_channels_leave_exactly_and_it_is_told() -> None:
    program = capture()
    result = run(program, Bury())
    assert error(program, result) < 1e-5
    assert cost_of(result.program).macs < cost_of(program).macs
    assert result.report.constants.folded == ("conv2d in next",)
    assert any("biases of 1 layer(s): conv2d in next" in note for note in result.report.notes)
    document = result.report.to_dict()["constants"]
    assert document == {"folded": ["conv2d in next"], "refused": []}


@pytest.mark.parametrize("order", ["repaired", "dead"])
def test_nothing_is_folded_twice(order: str) -> None:
    program = capture()
    passes = [Bury(), Repair()] if order == "repaired" else [find_pass("dead")(), Bury()]
    assert error(program, run(program, *passes)) < 1e-5


def test_what_cannot_be_folded_is_told_with_its_reason() -> None:
    program = capture(padding=1)
    result = run(program, Bury())
    assert error(program, result) > 1e-3
    assert "border" in result.report.constants.refused[0]
    assert any("missing in 1 place(s)" in note for note in result.report.notes)


def test_a_new_bias_never_breaks_the_goal() -> None:
    program = capture()
    exact = cost_of(compressc.lower(program.with_plan(Plan(keep={"conv": ~DEAD})))).params
    tight = run(program, Bury(), params=exact)
    assert tight.report.constants.folded == ()
    assert "break the goal" in tight.report.constants.refused[0]
    assert run(program, Bury(), params=exact + 8).report.constants.folded == ("conv2d in next",)


def test_where_nothing_is_constant_nothing_changes() -> None:
    program = capture()
    state = {name: tensor.clone() for name, tensor in program.state().items()}
    state["norm.weight"].fill_(0.5)
    alive = program.with_state(state)
    planned = alive.with_plan(Plan(keep={"conv": ~DEAD}))

    def weights(result: Result) -> dict[str, bytes]:
        return {
            t.name: onnx.numpy_helper.to_array(t).tobytes() for t in result.onnx.graph.initializer
        }

    result = run(alive, Bury())
    assert weights(result) == weights(run(planned))
    assert not result.report.constants.folded
    assert not result.report.notes
