"""Int8 through the driver: judged, timed beside float32, refused where it makes no sense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from compressc.backend.onnx_export import export_onnx
from compressc.backend.quantization import is_quantized
from compressc.compression import Result, compress
from compressc.errors import DataError, GoalError, PrecisionError, VerificationError
from compressc.goal import Goal
from compressc.pipeline import integer_precision, judging
from compressc.pipeline.integer_precision import check_int8
from compressc.program import Program
from compressc.reporting.page import render_page
from compressc.reporting.summary import summarize
from compressc.runtime import int8_path
from compressc.runtime.cost_table import CostTable
from compressc.runtime.int8_path import int8_instructions, int8_weight_bits, saturates
from compressc.runtime.int8_weights import find_wide_weights
from compressc.runtime.machine import Machine, describe_machine
from compressc.settings import Int8, Settings
from compressc.target import Target
from tests.small_networks import TwoConvs, seeded_program

# The tests run on any machine; whether it is refused is a test of its own.
INT8 = Int8(force=True)


class Teacher:
    """Labels are what the original says; the metric is the agreement with it."""

    metric_name = "agreement [%]"
    metadata = {"compressc.normalization.mean": "0.5"}  # noqa: RUF012

    def __init__(self, program: Program) -> None:
        self.x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.labels = program.graph_module(self.x).argmax(1)
        self.modules: list[str] = []

    def train_batches(self, epoch: int, seed: int) -> Iterator[Any]:
        yield (self.x,), self.labels

    def calibration_batches(self, samples: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
        yield (self.x[:samples],)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def validate(self, module: nn.Module) -> float:
        with torch.no_grad():
            return 100 * float((module(self.x).argmax(1) == self.labels).double().mean())

    def evaluate(self, module: nn.Module) -> float:
        self.modules.append(type(module).__name__)
        return self.validate(module)


@pytest.fixture(scope="module")
def program() -> Program:
    return seeded_program(TwoConvs)


@pytest.fixture(scope="module")
def task(program: Program) -> Teacher:
    return Teacher(program)


def run(program: Program, task: Teacher | None, **settings: Any) -> Result:
    return compress(
        program,
        goal=Goal(macs=0.6),
        multiple_of=4,
        task=task,
        settings=Settings(**{"measure": False, "int8": INT8, **settings}),
        repair=False,
    )


def test_the_file_is_int8_and_the_report_compares(
    program: Program, task: Teacher, tmp_path: Path
) -> None:
    task.modules.clear()
    result = run(program, task, measure=True, seconds=0.5)
    model = onnx.load(result.export(tmp_path / "small.onnx"))
    assert is_quantized(model)
    stored = {entry.key: entry.value for entry in model.metadata_props}
    assert stored["compressc.normalization.mean"] == "0.5"
    assert stored["compressc.proof.double_precision"].startswith("int8")
    assert "int8 ~ float32" in stored["compressc.verified"]
    report = result.report
    assert report.int8 is not None
    assert report.int8.calibration_samples == 52  # 64 less a fifth
    assert report.int8.source == "the training split"
    assert report.int8.float_metric is not None
    assert report.metric is not None
    assert task.modules[-1] == "OnnxModule"
    assert report.after.file_bytes is not None
    assert report.after.file_bytes < report.int8.float_file_bytes
    assert report.bench is not None
    assert [m.path for m in report.bench.measurements] == [
        "original.onnx",
        "compressed.onnx",
        "compressed_float32.onnx",
    ]
    assert all(row.latency_ms_after is not None for row in report.layers)
    names = [row.name for row in summarize(report)]
    assert names[-3:] == [
        "float32: ONNX file",
        "float32: latency p50 (wall time)",
        "float32: agreement [%]",
    ]
    assert report.to_dict()["int8"]["quantized_nodes"] > 0
    assert "float32: latency p50" in render_page(report)


def test_a_file_is_loaded_without_a_warning(program: Program, task: Teacher, capfd) -> None:
    model = run(program, task).onnx
    capfd.readouterr()
    onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert capfd.readouterr().err == ""
    # What would be told does arrive here.
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "unread"))
    onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert "unread" in capfd.readouterr().err


def test_stored_samples_do_without_a_task(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, x=np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype(np.float32))
    report = run(program, None, int8=replace(INT8, samples=path)).report
    assert report.int8 is not None
    assert report.int8.source == str(path)
    assert 0 < report.int8.relative_error < 0.2
    assert report.metric is None
    assert any("calibrated on 16 sample(s) only" in note for note in report.notes)


def test_new_weights_are_quantised_anew(program: Program, task: Teacher) -> None:
    result = run(program, task)
    state = {name: value.clone() for name, value in result.program.module().state_dict().items()}
    state["fc.weight"] *= 2
    again = result.with_state(state)
    scales = [
        next(numpy_helper.to_array(t) for t in one.onnx.graph.initializer if t.name == name)
        for one in (result, again)
        for name in ("fc.weight_scale",)
    ]
    np.testing.assert_allclose(scales[1], 2 * scales[0], rtol=1e-5)


def test_a_ruined_model_is_not_written(
    program: Program, task: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = integer_precision.quantize

    def ruined(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        for tensor in found.model.graph.initializer:
            if tensor.name == "fc.weight_scale":
                array = np.full_like(numpy_helper.to_array(tensor), np.nan)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return found

    monkeypatch.setattr(integer_precision, "quantize", ruined)
    with pytest.raises(VerificationError, match=r"int8 ~ float32.*not finite.*--int8-samples"):
        run(program, task)


def test_the_drop_of_int8_counts(
    program: Program, task: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Poor(judging.OnnxModule):
        def forward(self, *inputs: Any) -> Any:
            return -super().forward(*inputs)

    goal = Goal(macs=0.99, max_drop=60.0)
    settings = Settings(measure=False, int8=INT8)
    names = [
        check.name
        for check in compress(
            program, goal=goal, multiple_of=4, task=task, settings=settings
        ).report.verdict.checks
    ]
    assert "drop within --max-drop, int8" in names
    monkeypatch.setattr(judging, "OnnxModule", Poor)
    with pytest.raises(GoalError, match="max-drop"):
        compress(program, goal=goal, multiple_of=4, task=task, settings=settings)


def with_features(*simd: str, architecture: str = "x86_64") -> Machine:
    return replace(describe_machine(), simd=simd, architecture=architecture, cpu_model="Old one")


def test_machines_without_a_fast_path_are_refused(
    program: Program, task: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(settings: Int8, machine: Machine) -> None:
        monkeypatch.setattr("compressc.target.describe_machine", lambda: machine)
        check_int8(Settings(int8=settings), Goal(), task, program, Target())

    old, new = with_features("avx2"), with_features("avx2", "avx_vnni")
    arm = with_features("neon", "asimddp", architecture="aarch64")
    plain_arm = with_features("neon", architecture="aarch64")
    with pytest.raises(PrecisionError, match=r"Old one.*neither VNNI.*--force-int8"):
        check(Int8(), old)
    for settings, machine in ((Int8(force=True), old), (Int8(), new), (Int8(), arm)):
        check(settings, machine)
    assert int8_instructions(new) == ("avx_vnni",)
    assert [int8_weight_bits(machine) for machine in (old, new, arm, plain_arm)] == [7, 8, 8, 7]
    assert [saturates(machine) for machine in (old, new, arm)] == [True, False, False]


def table_of(machine: Machine) -> CostTable:
    """Return a cost table that was brought along from another machine."""
    return CostTable(machine, 1, 16, 0.0002, 0.005, {})


VNNI = ("avx2", "avx512f", "avx512_vnni")


@pytest.mark.parametrize(
    ("here", "target", "bits"),
    [
        (VNNI, None, 8),
        (("avx2",), None, 7),
        (("avx2", "avx512f"), None, 7),
        (VNNI, ("avx2",), 7),
        # What is judged on a machine whose sums overflow must fit into them.
        (("avx2",), VNNI, 7),
    ],
)
def test_weights_have_8_bits_only_where_sums_are_known_to_fit(
    program: Program,
    task: Teacher,
    monkeypatch: pytest.MonkeyPatch,
    here: tuple[str, ...],
    target: tuple[str, ...] | None,
    bits: int,
) -> None:
    this_machine = with_features(*here)
    monkeypatch.setattr(int8_path, "describe_machine", lambda: this_machine)
    monkeypatch.setattr("compressc.target.describe_machine", lambda: this_machine)
    result = integer_precision.quantize_export(
        export_onnx(program),
        program,
        Settings(int8=INT8),
        task,
        0,
        Target(cost_table=table_of(with_features(*target))) if target else Target(),
    )
    stored = {entry.key: entry.value for entry in result.model.metadata_props}
    assert stored["compressc.int8_weight_bits"] == str(result.row.weight_bits) == str(bits)
    assert stored["compressc.runs_on"] == result.row.runs_on == int8_path.runs_on(bits)
    assert (find_wide_weights(result.model) == ()) is (bits == 7)
    assert f"int8 weights have {bits} bits: the file is right on {result.row.runs_on}" in (
        result.notes
    )


def test_what_makes_no_sense_is_refused_before_any_work(
    program: Program, task: Teacher, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="needs real inputs"):
        run(program, None)
    with pytest.raises(PrecisionError, match="do not combine"):
        run(program, task, storage="compact")
    with pytest.raises(DataError, match="no such file"):
        run(program, task, int8=replace(INT8, samples=tmp_path / "none.npz"))
    with pytest.raises(DataError, match="give 1 or more"):
        run(program, task, int8=replace(INT8, count=0))
    with pytest.raises(PrecisionError, match="do not combine"):
        run(program, task).export(tmp_path / "x.onnx", storage="compact")
    assert not list(tmp_path.iterdir())
