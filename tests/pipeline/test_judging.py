"""What may be lost, what the test split is touched for, and what the file says of its input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressc.compression import Result, compress
from compressc.contract.context import Context
from compressc.contract.registry import find_pass
from compressc.coupling.graph import cost_of
from compressc.errors import DataError, GoalError
from compressc.goal import Goal
from compressc.program import HistoryLine, Program
from compressc.reporting.page import render_page
from compressc.settings import Settings
from tests.small_networks import seeded_program


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    return seeded_program(Net)


@dataclass
class Params:
    """A task whose metric counts parameters: pruning loses points."""

    scale: float = 1.0
    tested: list[int] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=lambda: {"compressc.data": "toys", "n": 4})
    notes: tuple[str, ...] = ("2 files skipped",)
    metric_name: str = "params"

    def train_batches(self, epoch: int, seed: int) -> Iterator[Any]:
        return iter(())

    def calibration_batches(self, samples: int, seed: int) -> Iterator[Any]:
        return iter(())

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return torch.zeros(())

    def validate(self, module: nn.Module) -> float:
        assert not module.training
        return self.scale * sum(p.numel() for p in module.parameters())

    def evaluate(self, module: nn.Module) -> float:
        count = sum(p.numel() for p in module.parameters())
        self.tested.append(count)
        return float(count)


def run(program: Program, task: Any, max_drop: float | None) -> Result:
    return compress(
        program,
        goal=Goal(macs=0.6, max_drop=max_drop),
        passes=[find_pass("magnitude")()],
        multiple_of=4,
        task=task,
        settings=Settings(measure=False),
    )


def test_a_drop_within_the_bound_is_in_the_verdict(program: Program) -> None:
    result = run(program, Params(), 1000)
    check = result.report.verdict.checks[2]
    assert check.name == "drop within --max-drop"
    assert check.numbers["before"] == cost_of(program).params
    assert check.numbers["after"] == cost_of(result.program).params
    assert result.report.goal["drop"] == "1000 point(s) on search-validation"


@pytest.mark.parametrize("task", [Params(), Params(scale=float("nan"))])
def test_a_larger_drop_is_an_error_with_both_values(program: Program, task: Params) -> None:
    with pytest.raises(GoalError, match=r"from (516\.00|nan) to .*epochs.*milder target"):
        run(program, task, 10)
    assert task.tested == []


def test_a_bound_on_the_drop_needs_data(program: Program) -> None:
    class Half:
        metric_name = "x"

        def evaluate(self, module: nn.Module) -> float:
            return 0.0

    with pytest.raises(DataError, match="--max-drop needs data"):
        run(program, None, 1)
    with pytest.raises(DataError, match="lacks train_batches"):
        run(program, Half(), 1)


def test_the_test_split_is_seen_once_per_model(program: Program, tmp_path: Path) -> None:
    task = Params()
    result = run(program, task, 1000)
    result.export(tmp_path / "compact.onnx", storage="compact")
    assert task.tested == [cost_of(program).params, cost_of(result.program).params]
    result.with_state(result.program.state())
    assert len(task.tested) == 3


def properties(result: Result) -> dict[str, str]:
    return {entry.key: entry.value for entry in result.onnx.metadata_props}


def test_the_file_and_the_report_say_what_data_it_was(program: Program) -> None:
    result = run(program, Params(), None)
    assert properties(result)["compressc.data"] == "toys"
    assert properties(result)["n"] == "4"
    assert "2 files skipped" in result.report.notes
    assert result.report.data == "toys"
    assert "params on toys" in render_page(result.report)


def test_without_a_task_the_checkpoints_normalisation_is_told(program: Program) -> None:
    known = program.with_line(
        HistoryLine("load", {"normalization": {"mean": [0.5, 0.25, 0], "std": [1, 2, 3]}})
    )
    found = properties(run(known, None, None))
    assert found["compressc.normalization.mean"] == "0.5 0.25 0"
    assert found["compressc.normalization.std"] == "1 2 3"
    assert not [key for key in properties(run(program, None, None)) if "normal" in key]


def test_data_without_samples_are_one_line(program: Program) -> None:
    with pytest.raises(DataError, match=r"^surgeon: the training split gives no samples; .*--pass"):
        compress(program, goal=Goal(macs=0.6), task=Params(), settings=Settings(measure=False))
    decided = find_pass("magnitude")()(program, Context(goal=Goal(macs=0.6)))
    for name, start in (("surgeon", program), ("calibrate", decided)):
        one, context = find_pass(name)(), Context(goal=Goal(macs=0.6), task=Params())
        with pytest.raises(DataError, match=rf"^{name}: the training split gives no samples"):
            one(start, context)
