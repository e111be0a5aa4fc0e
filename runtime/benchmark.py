"""Measure ONNX files against each other: the order of work, from paths to a result."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from compressc.runtime.bench_result import BenchResult
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import (
    Dims,
    Shapes,
    actual_batch,
    foreign_overrides,
    input_dims,
    make_inputs,
)
from compressc.runtime.int8_weights import saturation_warning
from compressc.runtime.machine import describe_machine
from compressc.runtime.measurement import Measurement
from compressc.runtime.onnx_cost import OnnxCost, count_cost, file_bytes
from compressc.runtime.peak_rss import PeakRss, measure_peak_rss
from compressc.runtime.pinning import pinned
from compressc.runtime.quietness import cpu_share, judge, take_snapshot
from compressc.runtime.ratios import Ratio, bootstrap_quantile, bootstrap_ratio
from compressc.runtime.session import open_session, run_session
from compressc.runtime.sessions import plan_sessions, time_sessions
from compressc.runtime.timing import Run, Series, WarmUp, plan_rounds, warm_up

Progress = Callable[[int, int, str], None]

_LEAST_ROUNDS = 10
_MOST_ROUNDS = 1000
_TOTAL = 100
_PREPARED = 30
CONFIDENCE = 0.99
# Of the machine's memory, for sessions that stay open so that later ones lie elsewhere.
_MEMORY_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class _Contestant:
    """One opened file with its inputs and what is known of it before it is timed."""

    path: Path
    session: InferenceSession
    feeds: dict[str, NDArray[Any]]
    batch: int
    cost: OnnxCost | None
    memory: PeakRss | None
    warmth: WarmUp
    open_seconds: float
    notes: tuple[str, ...]


def bench(
    paths: Sequence[str | Path],
    threads: int = 1,
    batch: int = 1,
    rounds: int | None = None,
    seconds: float = 10.0,
    warmup_seconds: float = 3.0,
    shapes: Shapes | None = None,
    seed: int = 0,
    sessions: int | None = None,
    peak_rss: bool = True,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure ONNX files against each other in interleaved rounds.

    Every file is opened, counted, run in a process of its own for its peak memory, and warmed up
    until its latency stands still. Then every round times every file, in rotating order; a file
    faster than 20 ms runs for about 20 ms per round. The rounds are spread over several sessions
    of each file, since two sessions of one file differ by where their memory lies: intervals come
    from the differences between sessions. All of it happens on as many cores as threads, the
    quietest ones, where the system allows to choose.

    Args:
        paths: the files; ratios are taken against the first.
        threads: threads of each operator.
        batch: size of symbolic first axes. A batch fixed in the files stands, with a note.
        rounds: how many rounds; None for as many as fit into ``seconds``, from 10 to 1000.
        seconds: time of all rounds over all files together, when ``rounds`` is None.
        warmup_seconds: the most time one file is warmed up for.
        shapes: sizes of other symbolic axes by axis name, or whole shapes by input name.
        seed: of the inputs and of the resampling.
        sessions: how often every file is opened; None for 4 to 10 times, as opening costs. With
            one session nothing is known of how sessions differ, and a note says so.
        peak_rss: whether to measure peak memory, which opens every file once more.
        progress: called with percent done, 100, and what is going on.

    Raises:
        RuntimeFailure: if a file cannot be opened or run, if ``shapes`` names what no file has,
            if the files fix different batches, or if a number is out of range.
    """
    _check(paths, rounds, seconds, warmup_seconds, sessions)
    report = progress or _report_nothing
    taken_at = datetime.now(UTC).isoformat(timespec="seconds")
    with pinned(threads) as cores:
        contestants = []
        for place, path in enumerate(map(Path, paths)):
            report(_PREPARED * place // len(paths), _TOTAL, f"preparing {path.name}")
            contestants.append(
                _prepare(path, threads, batch, shapes, seed, peak_rss, warmup_seconds)
            )
        _check_shapes({str(c.path): input_dims(c.session) for c in contestants}, shapes)
        _check_batches(contestants)

        call_ms = [c.warmth.call_ms for c in contestants]
        planned = rounds or plan_rounds(call_ms, seconds, _LEAST_ROUNDS, _MOST_ROUNDS)
        opening = sum(c.open_seconds for c in contestants)
        opened = min(planned, sessions) if sessions else plan_sessions(seconds, opening, planned)

        def on_round(done: int) -> None:
            percent = _PREPARED + (_TOTAL - _PREPARED) * done // planned
            report(percent, _TOTAL, f"round {done} of {planned}")

        before = take_snapshot()
        begin = time.perf_counter()
        series = time_sessions(
            [partial(_open, c, threads) for c in contestants],
            [partial(c.session.run, None, c.feeds) for c in contestants],
            call_ms,
            planned,
            opened,
            warmup_seconds=warmup_seconds,
            keep=_fits(contestants, opened),
            on_round=on_round,
        )
        spent = time.perf_counter() - begin
        quietness = judge(before, take_snapshot(), cpu_share(series) if threads == 1 else None)

    notes = [quietness.note, *(note for c in contestants for note in c.notes)]
    if opened == 1 and len(paths) > 1:
        notes.append(
            "Every file was opened once, so the ranges do not hold what differs between sessions "
            "of one file, about 1 %."
        )
    pairs = list(zip(contestants, series, strict=True))
    return BenchResult(
        measurements=tuple(_measurement(c, times, threads, opened, seed) for c, times in pairs),
        ratios=(
            Ratio(1.0, 1.0, 1.0, CONFIDENCE),
            *(
                bootstrap_ratio(
                    series[0].round_ms, times.round_ms, times.round_session, seed, CONFIDENCE
                )
                for times in series[1:]
            ),
        ),
        rounds=planned,
        seconds=spent,
        taken_at=taken_at,
        quietness=quietness,
        notes=tuple(note for note in dict.fromkeys(notes) if note),
        cores=cores,
    )


def _open(contestant: _Contestant, threads: int) -> Run:
    session = open_session(contestant.path, threads)
    return partial(session.run, None, contestant.feeds)


def _fits(contestants: Sequence[_Contestant], sessions: int) -> bool:
    """Return whether all sessions may stay open: weights, and about as much again to work in."""
    memory = describe_machine().memory_bytes
    needed = 2 * sessions * sum(file_bytes(c.path) for c in contestants)
    return memory is not None and needed <= _MEMORY_SHARE * memory


def _prepare(
    path: Path,
    threads: int,
    batch: int,
    shapes: Shapes | None,
    seed: int,
    peak_rss: bool,
    warmup_seconds: float,
) -> _Contestant:
    begin = time.perf_counter()
    session = open_session(path, threads)
    open_seconds = time.perf_counter() - begin
    try:
        feeds = make_inputs(session, batch, seed, shapes)
    except RuntimeFailure as error:
        raise RuntimeFailure(f"{path}: {error}") from error
    run_session(session, feeds, str(path))
    own_batch = actual_batch({name: array.shape for name, array in feeds.items()})
    notes = [saturation_warning(path)]
    if own_batch != batch:
        notes.append(f"{path}: runs at batch {own_batch}, which its inputs fix, not {batch}.")
    cost, memory = None, None
    try:
        cost = count_cost(path, batch, shapes)
        notes += [f"{path}: {remark}." for remark in cost.uncounted]
    except RuntimeFailure as error:
        notes.append(f"{error}.")
    if peak_rss:
        try:
            memory = measure_peak_rss(path, threads, batch, shapes)
        except RuntimeFailure as error:
            notes.append(f"{error}.")
    warmth = warm_up(partial(session.run, None, feeds), warmup_seconds)
    if not warmth.steady and warmth.calls >= _LEAST_ROUNDS:
        notes.append(
            f"{path}: its latency still changed after {warmup_seconds:g} s of warm-up; "
            "trust the ratio more than the latency."
        )
    return _Contestant(
        path, session, feeds, own_batch, cost, memory, warmth, open_seconds, tuple(notes)
    )


def _measurement(
    contestant: _Contestant, times: Series, threads: int, sessions: int, seed: int
) -> Measurement:
    intervals = {
        f"p{percent}": bootstrap_quantile(
            times.latency_ms, times.call_session, percent / 100, seed, CONFIDENCE
        )
        for percent in (50, 90, 99)
    }
    p50, p90, p99 = (float(ms) for ms in np.percentile(times.latency_ms, [50, 90, 99]))
    mean = float(np.mean(times.latency_ms))
    cost, memory = contestant.cost, contestant.memory
    return Measurement(
        path=str(contestant.path),
        sha256=_digest(contestant.path),
        latency_p50_ms=p50,
        latency_p90_ms=p90,
        latency_p99_ms=p99,
        latency_mean_ms=mean,
        cpu_ms=float(np.mean(times.cpu_ms)),
        throughput=contestant.batch / mean * 1e3,
        runs=times.latency_ms.size,
        steady=contestant.warmth.steady,
        threads=threads,
        batch=contestant.batch,
        input_shapes={name: array.shape for name, array in contestant.feeds.items()},
        peak_rss_bytes=memory.peak_rss_bytes if memory else None,
        baseline_rss_bytes=memory.baseline_rss_bytes if memory else None,
        size_bytes=cost.size_bytes if cost else file_bytes(contestant.path),
        macs=cost.macs_per_item if cost else None,
        params=cost.params if cost else None,
        machine=describe_machine(),
        sessions=sessions,
        latency_intervals_ms=intervals,
    )


def _check(
    paths: Sequence[str | Path],
    rounds: int | None,
    seconds: float,
    warmup_seconds: float,
    sessions: int | None,
) -> None:
    if not paths:
        raise RuntimeFailure("no file to measure; name at least one .onnx file")
    for what, count in (("rounds", rounds), ("sessions", sessions)):
        if count is not None and count < 1:
            raise RuntimeFailure(f"{what} {count}: must be 1 or more")
    for name, value in (("seconds", seconds), ("warmup_seconds", warmup_seconds)):
        if not 0 < value < float("inf"):
            raise RuntimeFailure(f"{name} {value:g}: must be a number of seconds above 0")


def _check_shapes(dims: dict[str, dict[str, Dims]], shapes: Shapes | None) -> None:
    foreign = [foreign_overrides(of_one, shapes) for of_one in dims.values()]
    unknown = set.intersection(*foreign)
    if unknown:
        known = sorted(
            {name for of_one in dims.values() for name in of_one}
            | {
                axis
                for of_one in dims.values()
                for axes in of_one.values()
                for axis in axes
                if isinstance(axis, str)
            }
        )
        raise RuntimeFailure(
            f"shape {', '.join(sorted(unknown))}: no such input or axis; there is "
            f"{', '.join(known)}"
        )


def _check_batches(contestants: Sequence[_Contestant]) -> None:
    first = contestants[0]
    for other in contestants[1:]:
        if other.batch != first.batch:
            raise RuntimeFailure(
                f"{other.path}: runs at batch {other.batch} and {first.path} at {first.batch}; "
                "measure them at one batch (--batch), or each alone"
            )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _report_nothing(done: int, total: int, text: str) -> None:
    del done, total, text
