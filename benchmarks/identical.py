"""Does the benchmark tell a file from itself? The interval of the ratio must contain 1.

Each trial times a network against a byte-for-byte copy of it under another name, the way
``compressc bench`` does, and counts whether the interval of the ratio contains 1. A benchmark whose
intervals are too narrow fails this; one whose intervals are merely wide shows it in ``half_width``.

    python benchmarks/identical.py --trials 100 --seconds 1 --output benchmarks/identical.json
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch
from kit.records import describe_run, write_record

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.models.registry import architectures, build
from compressc.runtime.benchmark import CONFIDENCE, bench


def write_network(name: str, path: Path) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, *architectures()[name].input_shape)
    write_onnx(export_onnx(compressc.capture(build(name).eval(), (inputs,))), path)


def run_trial(files: list[Path], seconds: float, threads: int, seed: int) -> dict[str, object]:
    result = bench(
        files, threads=threads, seconds=seconds, warmup_seconds=0.3, seed=seed, peak_rss=False
    )
    ratio, quiet = result.ratios[1], result.quietness
    return {
        "ratio": round(ratio.value, 5),
        "low": round(ratio.low, 5),
        "high": round(ratio.high, 5),
        "contains_1": not ratio.is_distinct,
        "sessions": result.measurements[0].sessions,
        "latency_p50_ms": round(result.measurements[0].latency_p50_ms, 4),
        "cpu_share": quiet.cpu_share and round(quiet.cpu_share, 3),
        "pinned": result.cores is not None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "first.onnx", Path(folder) / "copy.onnx"]
        write_network(arguments.network, files[0])
        shutil.copy(files[0], files[1])
        trials = []
        for seed in range(arguments.trials):
            trials.append(run_trial(files, arguments.seconds, arguments.threads, seed))
            held = sum(bool(trial["contains_1"]) for trial in trials)
            print(f"{seed + 1}: {held} contain 1; {trials[-1]}", flush=True)
    document = {
        **describe_run(),
        "network": arguments.network,
        "confidence": CONFIDENCE,
        "trials": len(trials),
        "intervals_containing_1": sum(bool(trial["contains_1"]) for trial in trials),
        "half_width_median": round(
            statistics.median((trial["high"] - trial["low"]) / 2 for trial in trials), 5
        ),
        "seconds": round(time.perf_counter() - begin, 1),
        "each": trials,
    }
    print({key: value for key, value in document.items() if key != "each"})
    if arguments.output:
        write_record(arguments.output, document)


if __name__ == "__main__":
    main()
