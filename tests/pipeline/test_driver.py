"""The driver: the pipeline, its verdict, and what it refuses to hand out."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import compressc
from compressc.compression import Result
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.coupling.graph import cost_of
from compressc.errors import CompresscError, GoalError, HandOverError, VerificationError
from compressc.goal import Goal
from compressc.pipeline import exporting, recipe
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.settings import Settings
from tests.small_networks import seeded_program

# These tests are about the pipeline, not about what repairs a result.
compress = functools.partial(compressc.compress, repair=False)

QUICK = Settings(measure=False)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = x + self.conv2(x).relu()
        return self.fc(self.conv3(x).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    return seeded_program(Net)


@pytest.fixture(scope="module")
def half(program: Program) -> Result:
    return compress(program, goal=Goal(macs=0.5), multiple_of=4, settings=QUICK, name="net")


def run_onnx(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    return found


def test_the_result_is_smaller_and_says_so(half: Result, program: Program) -> None:
    report = half.report
    assert 0.4 < report.after.macs / report.before.macs <= 0.5
    assert cost_of(half.program).macs == report.after.macs
    assert cost_of(program).macs == report.before.macs
    assert report.after.flops == 2 * report.after.macs
    assert [check.name for check in report.verdict.checks] == [
        "lowered == masked",
        "predicted cost == built cost",
        "torch == ONNX Runtime",
        "macs within the target",
        "macs in the ONNX file within the target",
    ]
    assert [row.name for row in report.passes] == ["magnitude"]
    assert {"lowering", "exporting to ONNX"} <= set(report.stage_seconds)
    assert [row.name for row in report.layers] == ["conv1", "conv2", "conv3", "fc"]
    assert sum(row.macs_after for row in report.layers) == report.after.macs


def test_the_file_computes_what_the_module_computes(half: Result, tmp_path: Path) -> None:
    path = half.export(tmp_path / "small.onnx")
    x = torch.randn(7, 3, 8, 8)
    with torch.no_grad():
        wanted = half.program.module().eval()(x).numpy()
    np.testing.assert_allclose(run_onnx(path, x.numpy()), wanted, atol=1e-5)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["compressc.macs"] == str(half.report.after.macs)
    assert properties["compressc.plan"] == half.plans[0].digest
    assert "torch == ONNX Runtime" in json.loads(properties["compressc.verified"])
    assert path.stat().st_size == half.report.after.file_bytes


def test_a_module_is_captured_and_left_alone() -> None:
    module = Net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    result = compress(
        module, torch.randn(2, 3, 8, 8), goal=Goal(params=0.6), multiple_of=4, settings=QUICK
    )
    assert result.report.after.params <= 0.6 * result.report.before.params
    assert result.report.model == "Net"
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_another_storage_is_verified_and_written(half: Result, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    dense = run_onnx(half.export(tmp_path / "dense.onnx"), x)
    compact = run_onnx(half.export(tmp_path / "compact.onnx", storage="compact"), x)
    np.testing.assert_array_equal(dense, compact)


def test_new_weights_are_exported_and_checked_anew(half: Result, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in half.program.module().state_dict().items()}
    state["fc.bias"] += 1.0
    trained = half.with_state(state)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    before = run_onnx(half.export(tmp_path / "a.onnx"), x)
    after = run_onnx(trained.export(tmp_path / "b.onnx"), x)
    np.testing.assert_allclose(after, before + 1.0, atol=1e-5)
    texts = {check.name: check.text for check in trained.report.verdict.checks}
    assert "before the weights were trained on" in texts["lowered == masked"]
    assert "before the weights" not in texts["torch == ONNX Runtime"]


def test_measuring_times_both_files_and_their_layers(program: Program) -> None:
    result = compress(program, goal=Goal(macs=0.5), multiple_of=8, settings=Settings(seconds=0.5))
    bench = result.report.bench
    assert bench is not None
    assert [m.path for m in bench.measurements] == ["original.onnx", "compressed.onnx"]
    assert bench.measurements[0].macs == result.report.before.macs
    assert all(row.latency_ms_after is not None for row in result.report.layers)
    assert not any("/tmp" in note for note in result.report.notes)


def test_a_wrong_lowering_is_caught(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    real = recipe.lower

    def wrong(decided: Program) -> Program:
        lowered = real(decided)
        state = {name: value.clone() for name, value in lowered.state().items()}
        state["conv2.weight"][0] = state["conv2.weight"][1]
        return lowered.with_state(state)

    monkeypatch.setattr(recipe, "lower", wrong)
    with pytest.raises(VerificationError, match="lowered == masked"):
        compress(program, goal=Goal(macs=0.5), multiple_of=4, settings=QUICK)


def test_a_lowering_that_removes_too_little_is_caught(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Passed:
        max_error: float = 0.0
        variation: float = 1.0
        relative_error: float = 0.0
        tolerance: float = 1e-7
        informative: bool = True
        passed: bool = True

    monkeypatch.setattr(recipe, "lower", lambda decided: decided.with_plan(Plan()))
    monkeypatch.setattr(recipe, "prove", lambda *_: Passed())
    with pytest.raises(VerificationError, match="predicted cost"):
        compress(program, goal=Goal(macs=0.5), multiple_of=4, settings=QUICK)


def test_a_wrong_export_is_caught_and_leaves_no_file(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = exporting.export_onnx

    def wrong(*args: object, **kwargs: object) -> onnx.ModelProto:
        model = real(*args, **kwargs)  # type: ignore[arg-type]
        weight = next(t for t in model.graph.initializer if t.name == "fc.weight")
        array = numpy_helper.to_array(weight).copy()
        array[0] += 0.01
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))
        return model

    monkeypatch.setattr(exporting, "export_onnx", wrong)
    with pytest.raises(VerificationError, match="torch == ONNX Runtime"):
        compress(program, goal=Goal(macs=0.5), multiple_of=4, settings=QUICK).export(
            tmp_path / "small.onnx"
        )
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Lazy(Pass):
    """Decides nothing."""

    name: ClassVar[str] = "lazy"

    def __call__(self, program: Program, context: Context) -> Program:
        return program


def test_a_pass_that_misses_the_goal_is_caught(program: Program) -> None:
    with pytest.raises(VerificationError, match="macs within the target"):
        compress(program, goal=Goal(macs=0.5), passes=[Lazy()], settings=QUICK)


def test_a_pending_plan_is_applied_as_it_is(program: Program) -> None:
    keep = np.ones(32, dtype=bool)
    keep[:5] = False
    planned = program.with_plan(Plan(keep={"conv3": keep}))
    result = compress(planned, goal=Goal(), passes=(), settings=QUICK)
    assert result.report.layers[2].widths_after == (16, 27)


def test_a_size_goal_bounds_the_file(program: Program, tmp_path: Path) -> None:
    full = compress(program, goal=Goal(), passes=(), settings=QUICK).report.after.file_bytes
    assert full is not None
    result = compress(program, goal=Goal(size_bytes=0.7), multiple_of=1, settings=QUICK)
    path = result.export(tmp_path / "s.onnx")
    assert 0.5 * full < path.stat().st_size <= 0.7 * full


def test_a_size_goal_below_the_graph_itself_is_explained(program: Program) -> None:
    with pytest.raises(GoalError, match="graph alone"):
        compress(program, goal=Goal(size_bytes=1000), settings=QUICK)


def test_the_machines_step_is_relaxed_where_it_has_to_be(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressc.target.channel_multiple", lambda _machine: 16)
    result = compress(program, goal=Goal(macs=0.2), settings=QUICK)
    assert result.report.multiple_of < 16
    assert any("the target's step of 16" in note for note in result.report.notes)
    with pytest.raises(GoalError):
        compress(program, goal=Goal(macs=0.2), multiple_of=16, settings=QUICK)


def test_a_goal_that_is_met_already_removes_nothing_and_says_so(program: Program) -> None:
    result = compress(program, goal=Goal(macs=10**9), settings=QUICK)
    assert result.report.after.macs == result.report.before.macs
    assert any("nothing was removed" in note for note in result.report.notes)


def test_constraints_are_kept(program: Program) -> None:
    result = compress(
        program,
        goal=Goal(macs=0.6),
        constraints=Constraints(keep=("conv1",), multiple_of=4),
        settings=QUICK,
    )
    assert result.report.multiple_of == 4
    assert result.report.layers[0].widths_after == (3, 16)
    assert "kept by --keep conv1" in {pin.reason for pin in result.report.pins}
    with pytest.raises(CompresscError, match="matches no layer"):
        compress(program, goal=Goal(macs=0.6), constraints=Constraints(keep=("con1",)))


def test_a_task_is_measured_before_and_after(program: Program) -> None:
    class Norm:
        metric_name = "norm"

        def evaluate(self, module: nn.Module) -> float:
            assert not module.training
            return float(sum(p.numel() for p in module.parameters()))

    result = compress(program, goal=Goal(macs=0.5), multiple_of=4, settings=QUICK, task=Norm())
    metric = result.report.metric
    assert metric is not None
    assert (metric.before, metric.after) == (
        result.report.before.params,
        result.report.after.params,
    )


def test_progress_names_the_stages(program: Program) -> None:
    said: list[str] = []
    compress(
        program,
        goal=Goal(macs=0.5),
        multiple_of=4,
        settings=QUICK,
        progress=lambda _done, _total, text: said.append(text),
    )
    assert "proving that lowered == masked" in said
    assert said.index("lowering") < said.index("exporting to ONNX")


def test_calls_that_make_no_sense(program: Program) -> None:
    with pytest.raises(HandOverError, match="example inputs"):
        compress(Net(), goal=Goal(macs=0.5))
    with pytest.raises(HandOverError, match="carries its example inputs"):
        compress(program, torch.randn(2, 3, 8, 8), goal=Goal(macs=0.5))
    with pytest.raises(GoalError, match="asks for nothing"):
        compress(program, goal=Goal())
    with pytest.raises(GoalError, match="multiple_of"):
        compress(program, goal=Goal(macs=0.5), multiple_of=-1)
