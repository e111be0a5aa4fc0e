"""Faults in the middle of runs: requests that the system refuses, memory that ends, and kills.

Claims: whatever fails, outputs are the old ones or the new ones, all of a run together, and the
error is one clear line; a run that is killed with SIGKILL and started again comes to the very file
that an undisturbed run comes to. A row is one command with one kind of fault; a row that is
finished is not run again.

    python benchmarks/faults.py --kills 50
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kit.records import describe_run, read_record, write_record

_HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_HOME))

from tests.fuzz.fault_runs import (  # noqa: E402
    LONG,
    MOST_BYTES,
    WRITERS,
    count_requests,
    end_memory,
    kill,
    outputs,
    refuse_request,
    with_fault,
)

Trial = Callable[[Path], None]


def refused_requests(name: str, folder: Path, most: int) -> Iterator[Trial]:
    """Every request of a run in turn, or so many of them at equal distances."""
    total = count_requests(name, folder)
    for number in sorted({*range(1, total + 1, -(-total // most)), total}):
        yield lambda place, n=number: refuse_request(name, place, n)  # type: ignore[misc]


def ends_of_memory(name: str, folder: Path, most: int) -> Iterator[Trial]:
    """Limits of memory at equal distances."""
    assert with_fault(name, folder, lambda work: work).code == 0
    for number in range(most):
        limit = int(MOST_BYTES * (number + 0.5) / most)
        yield lambda place, n=limit: end_memory(name, place, n)  # type: ignore[misc]


def kills(name: str, folder: Path, most: int) -> Iterator[Trial]:
    """Moments of a run at equal distances."""
    started = time.monotonic()
    assert with_fault(name, folder, lambda work: work).code == 0
    lasted = time.monotonic() - started
    right = outputs(folder)["out.onnx"]

    def try_kill(place: Path, moment: float) -> None:
        assert kill(name, place, moment) == right, f"another answer after a kill at {moment:.2f} s"

    for number in range(most):
        moment = lasted * (number + 0.5) / most
        yield lambda place, m=moment: try_kill(place, m)  # type: ignore[misc]


def try_all(trials: Iterator[Trial], folder: Path) -> dict[str, Any]:
    """Return how many trials there were, and which ended otherwise than they must."""
    started, wrong, number = time.perf_counter(), {}, 0
    for number, trial in enumerate(trials, start=1):
        try:
            trial(folder / str(number))
        except AssertionError as error:
            wrong[number] = str(error)[:300]
    return {"tried": number, "wrong": wrong, "seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="per command, at most")
    parser.add_argument("--memory", type=int, default=50, help="limits per command")
    parser.add_argument("--kills", type=int, default=50, help="moments per command")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rows = read_record(options.out)["rows"]
    done = {(row["fault"], row["command"]) for row in rows}
    document = {**describe_run(), "rows": rows}
    plans = (
        ("kill", kills, LONG, options.kills),
        ("request", refused_requests, WRITERS, options.requests),
        ("memory", ends_of_memory, WRITERS, options.memory),
    )
    for fault, trials, names, most in plans:
        for name in names:
            if (fault, name) in done or not most:
                continue
            with tempfile.TemporaryDirectory() as folder:
                made = try_all(trials(name, Path(folder) / "clean", most), Path(folder))
            rows.append({"fault": fault, "command": name, **made})
            write_record(options.out, document)
            print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
