"""Timing of several callables against each other: warm-up, interleaved rounds, rotated order.

Two things measured one after the other differ by whatever changed between them: clock frequency,
a neighbour on the machine. So every round times every contestant, and the order rotates so that
none always runs first or always behind the same other one.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Run = Callable[[], object]

_WINDOW = 5
_STEADY_CHANGE = 0.05
_BURST_MS = 20.0
# The call after a switch refills the caches; where calls are short enough to be repeated it is
# left out. Calls longer than this refill them many times over anyway.
_SETTLE_BELOW_MS = 10.0
_NANO_TO_MILLI = 1e-6


@dataclass(frozen=True)
class Clock:
    """Where times come from, in nanoseconds: wall time, and CPU time of all threads."""

    wall: Callable[[], int] = time.perf_counter_ns
    cpu: Callable[[], int] = time.process_time_ns


@dataclass(frozen=True)
class WarmUp:
    """What the warm-up found: the time of a call at its end, and whether it stood still."""

    call_ms: float
    calls: int
    steady: bool


@dataclass(frozen=True, eq=False)
class Series:
    """The times of one contestant.

    Attributes:
        latency_ms: every timed call, shape (calls,).
        round_ms: the median call of each round, shape (rounds,): what rounds are paired by.
        cpu_ms: CPU time of all threads per call, the mean of each round, shape (rounds,).
        wall_ms: wall time per call, the mean of each round, shape (rounds,).
        round_session: which session each round was taken in, shape (rounds,).
        call_session: which session each call was taken in, shape (calls,).
    """

    latency_ms: NDArray[np.float64]
    round_ms: NDArray[np.float64]
    cpu_ms: NDArray[np.float64]
    wall_ms: NDArray[np.float64]
    round_session: NDArray[np.int64]
    call_session: NDArray[np.int64]


def join(parts: Sequence[Series]) -> Series:
    """Return the series of several sessions of one contestant as one, numbering the sessions."""

    def whole(name: str) -> NDArray[np.float64]:
        return np.concatenate([getattr(part, name) for part in parts])

    def numbered(sizes: Sequence[int]) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(parts)), sizes)

    return Series(
        whole("latency_ms"),
        whole("round_ms"),
        whole("cpu_ms"),
        whole("wall_ms"),
        numbered([part.round_ms.size for part in parts]),
        numbered([part.latency_ms.size for part in parts]),
    )


def warm_up(run: Run, max_seconds: float, clock: Clock | None = None) -> WarmUp:
    """Call until the time of a call stands still, or ``max_seconds`` are over.

    It stands still when the medians of the last five calls and of the five before differ by less
    than 5 %. At least two calls are made, since the first one allocates.
    """
    clock = clock or Clock()
    times: list[float] = []
    steady = False
    while not steady and (len(times) < 2 or sum(times) < max_seconds * 1e3):
        begin = clock.wall()
        run()
        times.append((clock.wall() - begin) * _NANO_TO_MILLI)
        if len(times) >= 2 * _WINDOW:
            last = float(np.median(times[-_WINDOW:]))
            before = float(np.median(times[-2 * _WINDOW : -_WINDOW]))
            steady = abs(last - before) <= _STEADY_CHANGE * max(before, 1e-9)
    return WarmUp(float(np.median(times[-_WINDOW:][1:] or times)), len(times), steady)


def burst_calls(call_ms: float) -> int:
    """Return how many calls of a contestant are timed in a row: one, or 20 ms worth of them."""
    return max(1, math.ceil(_BURST_MS / call_ms)) if call_ms > 0 else 1


def plan_rounds(call_ms: Sequence[float], seconds: float, at_least: int, at_most: int) -> int:
    """Return how many rounds over all contestants fit into ``seconds``, within the limits."""
    one_round = sum(ms * (burst_calls(ms) + (ms < _SETTLE_BELOW_MS)) for ms in call_ms) / 1e3
    return min(at_most, max(at_least, int(seconds / one_round))) if one_round > 0 else at_most


def rotate(contestants: int, number: int) -> tuple[int, ...]:
    """Return the order of round ``number``: 0 1 2, then 1 2 0, then 2 0 1, and again."""
    shift = number % contestants
    return (*range(shift, contestants), *range(shift))


def time_rounds(
    runs: Sequence[Run],
    call_ms: Sequence[float],
    rounds: int,
    clock: Clock | None = None,
    on_round: Callable[[int], None] | None = None,
    first_round: int = 0,
) -> tuple[Series, ...]:
    """Time every contestant in every round, in rotating order.

    Args:
        runs: the contestants.
        call_ms: about how long a call of each takes; short ones are repeated within a round.
        rounds: how often all of them get their turn.
        clock: where times come from.
        on_round: told the number of rounds done, outside the timed part.
        first_round: the number of the first round, which decides who begins.

    Returns:
        One series per contestant, in the order of ``runs``.
    """
    clock = clock or Clock()
    latencies: list[list[float]] = [[] for _ in runs]
    medians = np.zeros((len(runs), rounds))
    cpu = np.zeros((len(runs), rounds))
    wall = np.zeros((len(runs), rounds))
    with _no_garbage_collection():
        for number in range(rounds):
            for index in rotate(len(runs), first_round + number):
                if call_ms[index] < _SETTLE_BELOW_MS:
                    runs[index]()
                burst, cpu_ms = _time_burst(runs[index], burst_calls(call_ms[index]), clock)
                latencies[index].extend(burst)
                medians[index, number] = np.median(burst)
                wall[index, number] = np.mean(burst)
                cpu[index, number] = cpu_ms / len(burst)
            if on_round is not None:
                on_round(number + 1)
    return tuple(
        Series(
            np.array(latencies[i]),
            medians[i],
            cpu[i],
            wall[i],
            np.zeros(rounds, dtype=np.int64),
            np.zeros(len(latencies[i]), dtype=np.int64),
        )
        for i in range(len(runs))
    )


def _time_burst(run: Run, calls: int, clock: Clock) -> tuple[list[float], float]:
    burst = []
    cpu_begin = clock.cpu()
    for _ in range(calls):
        begin = clock.wall()
        run()
        burst.append((clock.wall() - begin) * _NANO_TO_MILLI)
    return burst, (clock.cpu() - cpu_begin) * _NANO_TO_MILLI


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
