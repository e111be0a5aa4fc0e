"""Goals that an int8 file has to meet: its bytes and its latency, not those of float32."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.backend.quantization import is_quantized
from compressc.compression import Result
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass
from compressc.errors import GoalError, PrecisionError, VerificationError
from compressc.goal import Goal, LatencyBound
from compressc.pipeline import measuring
from compressc.pipeline.checks import check_latency
from compressc.pipeline.integer_precision import measure_int8_size
from compressc.program import HistoryLine, Program
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.benchmark import bench
from compressc.runtime.cost_table import CostTable
from compressc.runtime.machine import describe_machine
from compressc.runtime.quietness import Quietness
from compressc.settings import Int8, Settings
from compressc.target import Target
from compressc.verdict import Check

# These tests are about the pipeline, not about what repairs a result.
compress = functools.partial(compressc.compress, repair=False)


class Net(nn.Module):
    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.fc = nn.Linear(2 * channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.bn1(self.conv1(x)).relu()).relu()
        return self.fc(self.conv3(x).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return compressc.capture(Net().eval(), (torch.randn(2, 3, 8, 8),))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    path = tmp_path_factory.mktemp("samples") / "samples.npz"
    np.savez(path, x=np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype(np.float32))
    return Settings(measure=False, int8=Int8(samples=path, force=True))


def share(result: Result) -> float:
    after, before = result.report.after.file_bytes, result.report.before.file_bytes
    assert after is not None
    assert before is not None
    assert after == result.onnx.ByteSize()
    return after / before


@pytest.mark.parametrize("target", [0.24, 0.18, 0.1])
def test_a_size_is_that_of_the_file_written(
    program: Program, settings: Settings, target: float
) -> None:
    result = compress(program, goal=Goal(size_bytes=target), multiple_of=4, settings=settings)
    assert is_quantized(result.onnx)
    # Within the target, and no channels are given away: by float32 bytes it came to a third of it.
    assert 0.88 * target < share(result) <= target


def test_a_size_in_bytes_is_met_too(program: Program, settings: Settings) -> None:
    goal = Goal(size_bytes=150_000)
    result = compress(program, goal=goal, multiple_of=4, settings=settings)
    assert 0.88 * 150_000 < result.onnx.ByteSize() <= 150_000


def test_what_int8_alone_meets_removes_nothing(program: Program, settings: Settings) -> None:
    result = compress(program, goal=Goal(size_bytes=0.4), settings=settings)
    assert result.report.after.params == result.report.before.params
    assert "nothing was removed: the original meets the goal in int8" in result.report.notes


def test_a_size_below_graph_and_scales_is_refused(program: Program, settings: Settings) -> None:
    with pytest.raises(GoalError, match=r"graph and scales of int8 take about \d+ bytes"):
        compress(program, goal=Goal(size_bytes=0.01), settings=settings)


def test_calibration_has_no_say_in_the_size(program: Program, settings: Settings) -> None:
    model = export_onnx(program)
    size = measure_int8_size(model, program)
    whole = compress(program, goal=Goal(), passes=(), settings=settings)
    stamped = sum(p.ByteSize() + 2 for p in whole.onnx.metadata_props)
    assert abs(whole.onnx.ByteSize() - stamped - size.file_bytes) < 200
    # The first convolution stays in float32, which is faster.
    assert size.weight_bytes == 9 * 64 * 128 + 9 * 128 * 128 + 128 * 4


@dataclass(frozen=True)
class Aimed(Pass):
    """Halves the MACs, and says what it predicted in float32, as ``latency`` does."""

    name: ClassVar[str] = "aimed"

    def __call__(self, program: Program, context: Context) -> Program:
        decided = find_pass("magnitude")()(program, replace(context, goal=Goal(macs=0.5)))
        numbers = {"predicted_latency_ms": 5.0, "original_latency_ms": 10.0}
        return decided.with_line(HistoryLine(self.name, numbers=numbers))


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """Puts milliseconds of the original, of int8 and of float32 in the place of measured ones."""
    times = {"original": 10.0, "int8": 3.0, "float32": 5.0}
    torch.manual_seed(0)
    small = compressc.capture(nn.Conv2d(3, 8, 1).eval(), (torch.randn(2, 3, 4, 4),))
    path = tmp_path / "m.onnx"
    write_onnx(export_onnx(small), path)
    real = bench([path] * 3, seconds=0.05, peak_rss=False)

    def bench_files(paths: Sequence[Path], **_: Any) -> BenchResult:
        before, after, in_float = map(onnx.load, paths)
        kinds = ("original", "int8" if is_quantized(after) else "float32", "float32")
        assert not is_quantized(in_float)
        assert not is_quantized(before)
        ms = [times[kind] for kind in kinds]
        return replace(
            real,
            measurements=tuple(
                replace(one, latency_p50_ms=t, cpu_ms=t)
                for one, t in zip(real.measurements, ms, strict=True)
            ),
            ratios=tuple(
                replace(one, value=t / ms[0]) for one, t in zip(real.ratios, ms, strict=True)
            ),
            quietness=Quietness(1.0, 0.0, 0.0, 8),
        )

    monkeypatch.setattr(measuring, "bench", bench_files)
    monkeypatch.setattr(measuring, "time_layers", lambda *_, **__: {})
    return times


def run(program: Program, settings: Settings, target: float) -> Result:
    return compress(
        program,
        goal=Goal(latency_ms=target),
        passes=[Aimed()],
        multiple_of=4,
        settings=replace(settings, measure=True),
    )


def latency_check(result: Result) -> Check:
    return next(c for c in result.report.verdict.checks if c.name == "latency goal")


def test_a_latency_is_judged_by_the_int8_file(
    program: Program, settings: Settings, timed: Mapping[str, float]
) -> None:
    result = run(program, settings, 0.5)
    check = latency_check(result)
    assert check.numbers["reached_ms"] == pytest.approx(timed["int8"])
    assert "the int8 file, wall time at p50, compared in neighbouring rounds, " in check.text
    assert "predicted 0.5 of the original in float32" in check.text
    (note,) = (note for note in result.report.notes if "what float32 takes" in note)
    assert "takes 60% of the latency target; a milder target keeps more channels" in note


def test_an_int8_file_at_the_target_is_not_called_too_fast(
    program: Program, settings: Settings, timed: Mapping[str, float]
) -> None:
    (note,) = (n for n in run(program, settings, 0.3).report.notes if "what float32 takes" in n)
    assert note.endswith("takes 100% of the latency target")


def test_an_int8_file_that_is_slower_than_float32_fails(
    program: Program, settings: Settings, timed: dict[str, float]
) -> None:
    timed["int8"] = 7.0
    with pytest.raises(VerificationError, match=r"latency goal.*the int8 file, wall time"):
        run(program, settings, 0.5)


def test_what_no_measurement_of_int8_stands_behind_is_refused(
    program: Program, settings: Settings, tmp_path: Path
) -> None:
    goal = Goal(latency_ms=0.5)
    with pytest.raises(PrecisionError, match="need a measurement"):
        compress(program, goal=goal, settings=settings)
    elsewhere = Target(cost_table=CostTable(describe_machine(), 1, 16, 0.0002, 0.005, {}))
    measured = replace(settings, measure=True)
    with pytest.raises(PrecisionError, match="kernels of float32 only"):
        compress(program, goal=goal, settings=measured, target=elsewhere)
    numbers = {"predicted_latency_ms": 5.0, "original_latency_ms": 10.0}
    bound = goal.latency_ms
    assert isinstance(bound, LatencyBound)
    assert check_latency(bound, numbers, "", None).passed
    assert not check_latency(bound, numbers, "", None, in_int8=True).passed
    assert not check_latency(bound, numbers, "phone", None, in_int8=True).passed
