"""Sweeping: one model, several targets, a front of ONNX files in one folder.

Whatever the targets have in common is done once: capture, coupling, importance, the cost table, the
original's file and its metric. A run that was cut off goes on where it was: finished targets are
known by a digest of all they depend on, and passes resume by their own saved state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from compressc.backend.onnx_export import export_whole, write_onnx
from compressc.backend.output_drift import measure_drift
from compressc.clock import Clock, ProgressCallback, ignore_progress
from compressc.compression import Result, run_job
from compressc.coupling.graph import couple
from compressc.dynamic_axes import list_axis_sizes
from compressc.errors import ExportError, GoalError, PlanError, VerificationError
from compressc.goal import Bound, Goal
from compressc.pipeline.job import Job
from compressc.pipeline.preparing import capture_model
from compressc.pipeline.sampling import with_samples
from compressc.pipeline.saved_pass import remove_saved_passes
from compressc.plan import Plan
from compressc.reporting.report_file import write_report
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.benchmark import bench
from compressc.sweeping.files import (
    ORIGINAL,
    PAGE,
    PASS_STATE,
    digest_file,
    is_done,
    make_folder,
    read_state,
    write_state,
)
from compressc.sweeping.inputs import drift_inputs
from compressc.sweeping.page import render_sweep
from compressc.sweeping.result import Sweep, SweepRow
from compressc.sweeping.run import Run
from compressc.sweeping.targets import KINDS, read_targets
from compressc.writing import write_text

# What speaks against one target; anything else would befall all of them.
_UNMET = (GoalError, VerificationError, ExportError, PlanError)
_SHORTEST_BENCH = 3  # seconds per file


def sweep(
    job: Job,
    targets: Sequence[float | str | Bound],
    *,
    folder: str | Path,
    kind: str = "macs",
    progress: ProgressCallback = ignore_progress,
) -> Sweep:
    """Compress a model to several targets, time all files together, and tell which are worth it.

    ``folder`` gets one ONNX file per target and its report, ``original.onnx``, ``sweep.json`` and
    ``sweep.html``. The same call goes on where one was cut off.

    Args:
        job: what holds for every target: the model, passes, data, ``max_drop``, budget, seed,
            settings. Its goal has no bounds.
        targets: as in a :class:`compressc.Goal`: 0.5 keeps half, 2 and above are amounts; for
            latency also "5ms@p90".
        folder: where the files go; made if it is not there.
        kind: what targets bound: "macs", "params", "size_bytes" or "latency_ms".
        progress: called with (done, total, text).

    Returns:
        One row per target; one that cannot be met carries the reason.

    Raises:
        GoalError: if a target or the kind makes no sense.
        OutputError: if the folder cannot be written.
        CompresscError: as :func:`compressc.compress`, for what concerns all targets.
    """
    goals = read_targets(targets, kind, job.goal)
    folder = make_folder(Path(folder))
    clock = Clock(progress)
    with clock.stage("capturing the model"):
        program = capture_model(job)
    job = replace(job, model=program, example_inputs=None)
    if replace(job, goal=next(iter(goals.values()))).makes_samples:
        job = with_samples(replace(job, work_dir=folder / PASS_STATE), program, clock)
    known, timed = read_state(folder)
    with clock.stage("exporting the original"):
        original_onnx = export_whole(program)
        write_onnx(original_onnx, folder / ORIGINAL)
    run = Run(
        job=job,
        program=program,
        folder=folder,
        original_onnx=original_onnx,
        inputs=drift_inputs(program, original_onnx, job.task, job.settings, job.goal.seed),
    )
    swept = Sweep(
        job.name,
        kind,
        (_original_row(run, known),),
        metric_name=job.task.metric_name if job.task is not None else "",
        drift_source=run.inputs.source,
    )
    for place, (target, its_goal) in enumerate(goals.items()):
        said = f"target {target} ({place + 1} of {len(goals)})"
        key = run.key(its_goal)
        row = known.get(key)
        if row is None or not is_done(row, folder):
            row, before = _compress(run, target, key, its_goal, Clock(_prefixed(progress, said)))
            if before is not None:
                first = replace(swept.rows[0], metric=before)
                swept = replace(swept, rows=(first, *swept.rows[1:]))
        swept = replace(swept, rows=(*swept.rows, row))
        # What earlier runs know of later targets stays known until those are reached.
        reached = {known_row.key for known_row in swept.rows}
        later = [earlier for earlier in known.values() if earlier.key not in reached]
        write_state(replace(swept, rows=(*swept.rows, *later)), folder)
    if job.settings.measure:
        with clock.stage("measuring all files"):
            swept = swept.with_bench(_bench(run, swept, timed, clock))
    else:
        swept = swept.with_bench(None)
    write_state(swept, folder)
    write_text(folder / PAGE, render_sweep(swept))
    remove_saved_passes(folder / PASS_STATE)
    return swept


def _original_row(run: Run, known: Mapping[str, SweepRow]) -> SweepRow:
    """Return the row of the original; its metric is known once a target was met."""
    path, key = run.folder / ORIGINAL, run.key(run.job.goal)
    cost = couple(run.program).cost(Plan())
    return SweepRow(
        target="original",
        key=key,
        file=ORIGINAL,
        sha256=digest_file(path),
        macs=cost.macs,
        params=cost.params,
        file_bytes=path.stat().st_size,
        metric=known[key].metric if key in known else None,
        drift=0.0,
    )


def _compress(
    run: Run, target: str, key: str, goal: Goal, clock: Clock
) -> tuple[SweepRow, float | None]:
    """Return the row of a target, and the metric of the original where it became known."""
    started = time.perf_counter()
    # A latency is met by measuring; everything else is timed at the end, all files together.
    settings = run.job.settings
    settings = replace(settings, measure=settings.measure and goal.latency_ms is not None)
    kind = next(what for what in KINDS if getattr(goal, what) is not None)
    path = run.folder / f"{kind.partition('_')[0]}-{target}.onnx"
    job = replace(run.job, goal=goal, settings=settings, work_dir=run.folder / PASS_STATE)
    try:
        result = run_job(job, clock.progress)
        result.export(path)
    except _UNMET as error:
        path.unlink(missing_ok=True)
        return SweepRow(target, key, reason=" ".join(str(error).split())), None
    write_report(path.with_suffix(".json"), result.report)
    row = _row(run, target, key, path, result, time.perf_counter() - started)
    metric = result.report.metric
    return row, None if metric is None else metric.before


def _row(run: Run, target: str, key: str, path: Path, result: Result, seconds: float) -> SweepRow:
    drift = measure_drift(run.original_onnx, result.onnx, run.inputs.feeds)
    report = result.report
    return SweepRow(
        target,
        key,
        file=path.name,
        sha256=digest_file(path),
        macs=report.after.macs,
        params=report.after.params,
        file_bytes=path.stat().st_size,
        metric=None if report.metric is None else report.metric.after,
        drift=drift.relative_error,
        agreement=drift.agreement,
        at_chance=report.accuracy is not None and report.accuracy.is_at_chance,
        seconds=round(seconds, 3),
    )


def _bench(run: Run, swept: Sweep, known: BenchResult | None, clock: Clock) -> BenchResult | None:
    """Time all files in one run, unless an earlier run has timed just these."""
    rows = [row for row in swept.rows if row.is_met]
    digests = [row.sha256 for row in rows]
    job = run.job
    now = (digests, job.target.threads, job.target.batch)
    if known is not None and _circumstances(known) == now:
        return known
    result = bench(
        [run.folder / row.file for row in rows],
        threads=job.target.threads,
        batch=job.target.batch,
        seconds=max(job.settings.seconds, _SHORTEST_BENCH * len(rows)),
        shapes=list_axis_sizes(run.program),
        seed=job.goal.seed,
        progress=clock.within("measuring all files"),
    )
    measurements = tuple(replace(m, path=Path(m.path).name) for m in result.measurements)
    notes = tuple(note.replace(f"{run.folder}/", "") for note in result.notes)
    return replace(result, measurements=measurements, notes=notes)


def _circumstances(known: BenchResult) -> tuple[list[str], int, int]:
    first = known.measurements[0]
    return [m.sha256 for m in known.measurements], first.threads, first.batch


def _prefixed(progress: ProgressCallback, prefix: str) -> ProgressCallback:
    def report(done: int, total: int, text: str) -> None:
        progress(done, total, f"{prefix}: {text}")

    return report
