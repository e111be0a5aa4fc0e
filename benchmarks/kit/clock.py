"""A clock for the steps of one row: wall time, processor time and peak memory of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kit.turns import Stopwatch

Result = TypeVar("Result")


class Clock:
    """Notes what each step takes.

    Attributes:
        steps: by name: seconds, processor_seconds and peak_rss_mb.
    """

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, float]] = {}

    def time(self, step: str, call: Callable[[], Result]) -> Result:
        """Return what ``call`` returns, and note what it took."""
        _reset_peak()
        watch = Stopwatch()
        result = call()
        taken = watch.read()
        self.steps[step] = {
            "seconds": round(taken.wall, 1),
            "processor_seconds": round(taken.processor, 1),
            "peak_rss_mb": _peak_mb(),
        }
        print(f"  {step}: {self.steps[step]}", flush=True)
        return result


def _reset_peak() -> None:
    # Linux: the peak starts anew from what is resident now.
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
