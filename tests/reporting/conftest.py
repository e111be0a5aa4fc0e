"""Reports made by hand, so that what they show is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compressc.reporting.report import Amounts, LayerRow, PassRow, PinRow, Report
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.machine import describe_machine
from compressc.runtime.measurement import Measurement
from compressc.runtime.quietness import Quietness
from compressc.runtime.ratios import Ratio
from compressc.verdict import Check, Verdict

QUIET = Quietness(cpu_share=1.0, other_cores=0.0, load_before=0.0, logical_cores=2)
BUSY = Quietness(cpu_share=0.4, other_cores=1.5, load_before=3.0, logical_cores=2)


def make_measurement(path: str, p50: float, cpu_ms: float) -> Measurement:
    return Measurement(
        path=path,
        sha256="0" * 64,
        latency_p50_ms=p50,
        latency_p90_ms=2 * p50,
        latency_p99_ms=3 * p50,
        latency_mean_ms=p50,
        cpu_ms=cpu_ms,
        throughput=1000 / p50,
        runs=100,
        steady=True,
        threads=1,
        batch=1,
        input_shapes={"x": (1, 3, 8, 8)},
        peak_rss_bytes=50_000_000,
        baseline_rss_bytes=40_000_000,
        size_bytes=1000,
        macs=100,
        params=10,
        machine=describe_machine(),
    )


def make_bench(
    ratio: Ratio, *, quietness: Quietness = QUIET, cpu_ms: tuple[float, float] = (1.0, 0.5)
) -> BenchResult:
    return BenchResult(
        measurements=(
            make_measurement("original.onnx", 1.0, cpu_ms[0]),
            make_measurement("compressed.onnx", ratio.value, cpu_ms[1]),
        ),
        ratios=(Ratio(1.0, 1.0, 1.0, 0.99), ratio),
        rounds=20,
        seconds=1.0,
        taken_at="2026-01-01T00:00:00+00:00",
        quietness=quietness,
        notes=(),
    )


FASTER = Ratio(0.5, 0.48, 0.52, 0.99)
SLOWER = Ratio(1.25, 1.2, 1.3, 0.99)
SAME = Ratio(0.98, 0.9, 1.1, 0.99)


def make_report(**changes: Any) -> Report:
    report = Report(
        model="net <1>.pt",
        goal={"macs": "0.5 of the original"},
        before=Amounts(2_000_000, 1000, 4000, 5000),
        after=Amounts(980_000, 400, 1600, 2600),
        layers=(
            LayerRow("conv<1>", "conv2d", (3, 64), (3, 32), 1_500_000, 700_000, 800, 300),
            LayerRow("fc", "linear", (64, 10), (32, 10), 500_000, 280_000, 200, 100),
        ),
        passes=(PassRow("magnitude", {"norm": "l2"}, 0.1, ("a remark",)),),
        pins=(PinRow("fc", "is the model's output"),),
        verdict=Verdict((Check("lowered == masked", True, "equal", {"max_error": 0.0}),)),
        multiple_of=16,
        storage="dense",
        seed=0,
        machine=describe_machine().to_dict(),
        stage_seconds={"lowering": 0.5},
        notes=("take & care",),
        version="0.1.0",
    )
    return replace(report, **changes)
