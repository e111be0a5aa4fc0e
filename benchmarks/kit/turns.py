"""Turns: ways to do the same, timed one after the other in every round.

Ratios are taken pair by pair, so that a busy machine disturbs both sides, and from processor time
as well as from wall time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Seconds(NamedTuple):
    """What one run took."""

    wall: float
    processor: float


class Stopwatch:
    """Runs from the moment it is made."""

    def __init__(self) -> None:
        self._start = Seconds(time.perf_counter(), time.process_time())

    def read(self) -> Seconds:
        """Return what has passed since."""
        wall, processor = self._start
        return Seconds(time.perf_counter() - wall, time.process_time() - processor)


def time_call(call: Callable[[], object]) -> Seconds:
    """Return what a call takes."""
    watch = Stopwatch()
    call()
    return watch.read()


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
        name: _quartiles([above.wall / below.wall for above, below in pairs]),
        f"{name}_processor_time": _quartiles(
            [above.processor / below.processor for above, below in pairs]
        ),
    }


def _quartiles(ratios: Sequence[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"median": round(median, 4), "quartile1": round(low, 4), "quartile3": round(high, 4)}
