"""Hours of one process: ``bench`` again and again, and a loop of compressions.

Claim: memory, open files and threads do not grow. A row is a sample of the process every so many
rounds; the trend is the slope of a line through the samples after the first tenth, when caches are
warm. The run asked for is a day; a shorter one says its hours.

    python benchmarks/endurance.py --hours 24
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from kit.records import describe_run, write_record

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.goal import Goal
from compressc.models.registry import build
from compressc.runtime.benchmark import bench
from compressc.settings import Settings


def sample(rounds: int, started: float) -> dict[str, float]:
    """Return what the process holds now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rounds": rounds,
        "seconds": round(time.perf_counter() - started, 1),
        "memory_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "temporary_files": len(list(Path(tempfile.gettempdir()).iterdir())),
    }


def trend(samples: list[dict[str, float]], what: str) -> float:
    """Return by how much something grows per 1000 rounds."""
    warm = samples[len(samples) // 10 :]
    if len(warm) < 2:
        return 0.0
    places = np.array([each["rounds"] for each in warm])
    values = np.array([each[what] for each in warm])
    return round(float(np.polyfit(places, values, 1)[0]) * 1000, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--every", type=int, default=10, help="rounds between samples")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    program = compressc.capture(build("lenet5").eval(), (torch.randn(2, 1, 28, 28),))
    with tempfile.TemporaryDirectory() as folder:
        # Others use the machine's own folder as well.
        (Path(folder) / "temporary").mkdir()
        tempfile.tempdir = str(Path(folder) / "temporary")
        paths = [Path(folder) / name for name in ("original.onnx", "small.onnx")]
        write_onnx(export_onnx(program), paths[0])

        def compress_once(rounds: int) -> None:
            goal = Goal(macs=0.3 + 0.05 * (rounds % 10))
            settings = Settings(measure=False)
            result = compressc.compress(
                program, goal=goal, passes="magnitude", repair=False, settings=settings
            )
            result.export(paths[1])

        def bench_once(_rounds: int) -> None:
            bench(paths, threads=1, rounds=20, peak_rss=False, warmup_seconds=0.02)

        compress_once(0)
        loops = {"bench": bench_once, "compress": compress_once}
        document = {**describe_run(), "hours": options.hours, "loops": {}}
        for name, loop in loops.items():
            started, rounds, samples = time.perf_counter(), 0, []
            while time.perf_counter() - started < options.hours * 3600 / len(loops):
                loop(rounds)
                rounds += 1
                if rounds % options.every == 0:
                    samples.append(sample(rounds, started))
            document["loops"][name] = {
                "rounds": rounds,
                "growth_per_1000_rounds": {
                    what: trend(samples, what)
                    for what in ("memory_mb", "files", "threads", "temporary_files")
                },
                "first": samples[0] if samples else None,
                "last": samples[-1] if samples else None,
                "samples": samples[:: max(1, len(samples) // 50)],
            }
            write_record(options.out, document)
            print(name, document["loops"][name]["growth_per_1000_rounds"], flush=True)


if __name__ == "__main__":
    main()
