"""Ways to train, timed in turns: what the benchmarks of training speed share.

Ratios are taken pair by pair, so that a busy machine disturbs both sides, and from processor time
as well as from wall time.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from compressc.runtime.machine import describe_machine


class Seconds(NamedTuple):
    """What one run took."""

    wall: float
    processor: float


def take_turns(
    runs: Mapping[str, Callable[[], Seconds]], rounds: int, warmup: int
) -> dict[str, list[Seconds]]:
    """Call each run once per round, every other round backwards; the first rounds warm up."""
    times: dict[str, list[Seconds]] = {name: [] for name in runs}
    for number in range(rounds + warmup):
        for name in list(runs) if number % 2 else list(runs)[::-1]:
            taken = runs[name]()
            if number >= warmup:
                times[name].append(taken)
    return times


def median_seconds(times: Sequence[Seconds]) -> float:
    """Return the median of the wall time."""
    return statistics.median(taken.wall for taken in times)


def summarize_ratios(
    name: str, over: Sequence[Seconds], under: Sequence[Seconds]
) -> dict[str, Any]:
    """Return the quartiles of wall and processor time over those of the same round."""
    pairs = list(zip(over, under, strict=True))
    return {
        name: _quartiles([one.wall / other.wall for one, other in pairs]),
        f"{name}_processor_time": _quartiles(
            [one.processor / other.processor for one, other in pairs]
        ),
    }


def _quartiles(ratios: Sequence[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"median": round(median, 4), "quartile1": round(low, 4), "quartile3": round(high, 4)}


def measure(
    parser: argparse.ArgumentParser,
    compare: Callable[[str, argparse.Namespace], dict[str, Any]],
    settings: Sequence[str],
    threads: int = 1,
) -> None:
    """Compare at each precision; print every row and write them all beside the script.

    Args:
        parser: has the options of the script alone.
        compare: makes the row of a precision.
        settings: the options that the document records.
        threads: the default.
    """
    script = Path(sys.argv[0])
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--out", type=Path, default=script.with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for precision in options.precision:
        rows.append(compare(precision, options))
        print(json.dumps(rows[-1], indent=1), flush=True)
    document = {
        "command": shlex.join(["python", f"benchmarks/{script.name}", *sys.argv[1:]]),
        "network": options.arch,
        "batch_size": options.batch_size,
        **{name: getattr(options, name) for name in settings},
        "threads": options.threads,
        "machine": describe_machine().to_dict(),
        "torch": torch.__version__,
        "rows": rows,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")
