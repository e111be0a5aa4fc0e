"""Sweeping: one model, several targets, a front of ONNX files in one folder.

Whatever the targets have in common is done once: capture, coupling, importance, the cost table, the
original's file and its metric. A run that was cut off goes on where it was: finished targets are
known by a digest of all they depend on, and passes resume by their own saved state.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn

from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.backend.output_drift import measure_drift
from compressc.comparisons import dynamic_sizes
from compressc.driver import Result, compress
from compressc.errors import (
    ExportError,
    GoalError,
    HandOverError,
    OutputError,
    PlanError,
    VerificationError,
)
from compressc.fingerprints import fingerprint, fingerprint_task
from compressc.frontend.tracing import capture
from compressc.goal import Bound, Goal, LatencyBound
from compressc.pass_protocol import Pass, ignore_progress
from compressc.pass_runs import settings_of
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.runtime.bench import bench
from compressc.runtime.bench_result import BenchResult
from compressc.saved_pass import remove_saved_passes
from compressc.settings import Settings
from compressc.stages import ProgressCallback, Stages
from compressc.sweep_inputs import DriftInputs, drift_inputs
from compressc.sweep_result import Sweep, SweepRow, read_rows
from compressc.task import Scored
from compressc.writing import write_atomically

KINDS = ("macs", "params", "size_bytes", "latency_ms")
# What speaks against one target; anything else would befall all of them.
_UNMET = (GoalError, VerificationError, ExportError, PlanError)
_STATE, _JSON, _PAGE, _ORIGINAL = "state", "sweep.json", "sweep.html", "original.onnx"
_SHORTEST_BENCH = 3  # seconds per file


@dataclass(frozen=True, eq=False)
class _Run:
    """What all targets share."""

    program: Program
    passes: Sequence[Pass] | None
    task: Scored | None
    constraints: Constraints | None
    multiple_of: int | None
    settings: Settings
    goal: Goal
    folder: Path
    name: str
    original_onnx: onnx.ModelProto
    inputs: DriftInputs


def sweep(
    model: nn.Module | Program,
    example_inputs: tuple[Any, ...] | Tensor | None = None,
    *,
    targets: Sequence[float | str | Bound],
    folder: str | Path,
    kind: str = "macs",
    passes: Sequence[Pass] | None = None,
    task: Scored | None = None,
    constraints: Constraints | None = None,
    multiple_of: int | None = None,
    settings: Settings | None = None,
    goal: Goal | None = None,
    progress: ProgressCallback = ignore_progress,
    name: str | None = None,
) -> Sweep:
    """Compress a model to several targets, time all files together, and tell which are worth it.

    ``folder`` gets one ONNX file per target and its report, ``original.onnx``, ``sweep.json`` and
    ``sweep.html``. The same call goes on where one was cut off.

    Args:
        model: a module, or a captured Program.
        example_inputs: one positional argument each, batch of 2 or more; for a module only.
        targets: as in a :class:`compressc.Goal`: 0.5 keeps half, 2 and above are amounts; for
            latency also "5ms@p90".
        folder: where the files go; made if it is not there.
        kind: what targets bound: "macs", "params", "size_bytes" or "latency_ms".
        passes: what decides, in order; None for the default of :func:`compressc.compress`.
        task: data and metric; None to judge by how far outputs drift.
        constraints: layers that must stay, and so on.
        multiple_of: see :func:`compressc.compress`.
        settings: storage, precision, and how to measure.
        goal: what holds for every target beside it: ``max_drop``, budget, seed.
        progress: called with (done, total, text).
        name: what to call the model.

    Returns:
        One row per target; one that cannot be met carries the reason.

    Raises:
        GoalError: if a target or the kind makes no sense.
        OutputError: if the folder cannot be written.
        CompresscError: as :func:`compressc.compress`, for what concerns all targets.
    """
    goals = _goals(targets, kind, goal or Goal())
    folder = _made(Path(folder))
    settings = settings or Settings()
    stages = Stages(progress)
    with stages.stage("capturing the model"):
        program = _captured(model, example_inputs)
    known, timed = _read(folder)
    with stages.stage("exporting the original"):
        original_onnx = export_onnx(replace(program, plan=Plan()))
        write_onnx(original_onnx, folder / _ORIGINAL)
    run = _Run(
        program=program,
        passes=passes,
        task=task,
        constraints=constraints,
        multiple_of=multiple_of,
        settings=settings,
        goal=goal or Goal(),
        folder=folder,
        name=name or type(model).__name__,
        original_onnx=original_onnx,
        inputs=drift_inputs(program, original_onnx, task, settings, (goal or Goal()).seed),
    )
    found = Sweep(
        run.name,
        kind,
        (_original_row(run, known),),
        metric_name=task.metric_name if task is not None else "",
        drift_source=run.inputs.source,
    )
    for place, (target, its_goal) in enumerate(goals.items()):
        said = f"target {target} ({place + 1} of {len(goals)})"
        key = _key(run, its_goal)
        row = known.get(key)
        if row is None or not _is_done(row, folder):
            row, before = _compress(run, target, key, its_goal, Stages(_prefixed(progress, said)))
            if before is not None:
                first = replace(found.rows[0], metric=before)
                found = replace(found, rows=(first, *found.rows[1:]))
        found = replace(found, rows=(*found.rows, row))
        # What earlier runs know of later targets stays known until those are reached.
        later = [one for one in known.values() if one.key not in {r.key for r in found.rows}]
        _write(replace(found, rows=(*found.rows, *later)).to_json(), folder / _JSON)
    if settings.measure:
        with stages.stage("measuring all files"):
            found = found.with_bench(_bench(run, found, timed, stages))
    else:
        found = found.with_bench(None)
    from compressc.reporting.sweep_page import render_sweep

    _write(found.to_json(), folder / _JSON)
    _write(render_sweep(found), folder / _PAGE)
    remove_saved_passes(folder / _STATE)
    return found


def label(bound: Bound) -> str:
    """Return a target as it stands in file names: 0.5, 5ms@p90, 2000000."""
    if isinstance(bound, LatencyBound):
        percentile = "" if bound.percentile == "p50" else f"@{bound.percentile}"
        return f"{bound.value:g}{'' if bound.relative else 'ms'}{percentile}"
    return f"{bound.value:g}" if bound.relative else f"{bound.value:.0f}"


def _captured(
    model: nn.Module | Program, example_inputs: tuple[Any, ...] | Tensor | None
) -> Program:
    if isinstance(model, Program):
        return model
    if example_inputs is None:
        raise HandOverError("a module needs example inputs: sweep(model, (x,), targets=...)")
    return capture(
        model, (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    )


def _goals(targets: Sequence[float | str | Bound], kind: str, common: Goal) -> dict[str, Goal]:
    if kind not in KINDS:
        raise GoalError(f"target kind '{kind}' does not exist; choose {', '.join(KINDS)}")
    if common.bounds or common.latency_ms is not None:
        raise GoalError("a sweep's goal has no bounds of its own; give them as targets")
    goals: dict[str, Goal] = {}
    for target in targets:
        if isinstance(target, str) and kind != "latency_ms":
            raise GoalError(f"target '{target}': give a number")
        goal = replace(common, **{kind: target})  # type: ignore[arg-type]
        goals.setdefault(label(getattr(goal, kind)), goal)
    if not goals:
        raise GoalError("a sweep needs targets, such as 0.7, 0.5, 0.35")
    return goals


def _original_row(run: _Run, known: Mapping[str, SweepRow]) -> SweepRow:
    """Return the row of the original; its metric is known once a target was met."""
    path, key = run.folder / _ORIGINAL, _key(run, run.goal)
    cost = run.program.coupling.cost(Plan())
    return SweepRow(
        target="original",
        key=key,
        file=_ORIGINAL,
        sha256=_digest(path),
        macs=cost.macs,
        params=cost.params,
        file_bytes=path.stat().st_size,
        metric=known[key].metric if key in known else None,
        drift=0.0,
    )


def _compress(
    run: _Run, target: str, key: str, goal: Goal, stages: Stages
) -> tuple[SweepRow, float | None]:
    """Return the row of a target, and the metric of the original where it became known."""
    started = time.perf_counter()
    # A latency is met by measuring; everything else is timed at the end, all files together.
    settings = replace(run.settings, measure=run.settings.measure and goal.latency_ms is not None)
    kind = next(what for what in KINDS if getattr(goal, what) is not None)
    path = run.folder / f"{kind.partition('_')[0]}-{target}.onnx"
    try:
        result = compress(
            run.program,
            goal=goal,
            passes=run.passes,
            task=run.task,
            constraints=run.constraints,
            multiple_of=run.multiple_of,
            settings=settings,
            progress=stages.progress,
            work_dir=run.folder / _STATE,
            name=run.name,
        )
        result.export(path)
    except _UNMET as error:
        path.unlink(missing_ok=True)
        return SweepRow(target, key, reason=" ".join(str(error).split())), None
    result.report.save(path.with_suffix(".json"))
    row = _row(run, target, key, path, result, time.perf_counter() - started)
    metric = result.report.metric
    return row, None if metric is None else metric.before


def _row(run: _Run, target: str, key: str, path: Path, result: Result, seconds: float) -> SweepRow:
    drift = measure_drift(run.original_onnx, result.onnx, run.inputs.feeds)
    report = result.report
    return SweepRow(
        target,
        key,
        file=path.name,
        sha256=_digest(path),
        macs=report.after.macs,
        params=report.after.params,
        file_bytes=path.stat().st_size,
        metric=None if report.metric is None else report.metric.after,
        drift=drift.relative_error,
        agreement=drift.agreement,
        seconds=round(seconds, 3),
    )


def _bench(
    run: _Run, found: Sweep, known: BenchResult | None, stages: Stages
) -> BenchResult | None:
    """Time all files in one run, unless an earlier run has timed just these."""
    rows = [row for row in found.rows if row.is_met]
    digests = [row.sha256 for row in rows]
    settings = run.settings
    if known is not None and _circumstances(known) == (digests, settings.threads, settings.batch):
        return known
    result = bench(
        [run.folder / row.file for row in rows],
        threads=settings.threads,
        batch=settings.batch,
        seconds=max(settings.seconds, _SHORTEST_BENCH * len(rows)),
        shapes=dynamic_sizes(run.program),
        seed=run.goal.seed,
        progress=stages.within("measuring all files"),
    )
    measurements = tuple(replace(m, path=Path(m.path).name) for m in result.measurements)
    notes = tuple(note.replace(f"{run.folder}/", "") for note in result.notes)
    return replace(result, measurements=measurements, notes=notes)


def _circumstances(known: BenchResult) -> tuple[list[str], int, int]:
    first = known.measurements[0]
    return [m.sha256 for m in known.measurements], first.threads, first.batch


def _key(run: _Run, goal: Goal) -> str:
    """Return a digest of everything that the file of a target depends on."""
    int8 = run.settings.int8
    samples = Path(int8.samples) if int8 is not None and int8.samples is not None else None
    return fingerprint(
        version("compressc"),
        run.program,
        None if run.passes is None else [_describe(one) for one in run.passes],
        fingerprint_task(run.task, goal.seed),
        run.constraints,
        run.multiple_of,
        goal,
        run.settings.storage,
        None if int8 is None else (int8.count, int8.force),
        _digest(samples) if samples is not None and samples.is_file() else None,
        # Only a latency depends on how and where the file will be run.
        (run.settings.threads, run.settings.batch, run.settings.cost_table)
        if goal.latency_ms is not None
        else None,
    )


def _describe(one: Pass) -> tuple[str, str, list[tuple[str, Any]]]:
    return type(one).__module__, type(one).__qualname__, sorted(settings_of(one).items())


def _is_done(row: SweepRow, folder: Path) -> bool:
    """Return whether an earlier run finished a target; one that was not met is tried again."""
    path = folder / row.file
    return row.is_met and path.is_file() and _digest(path) == row.sha256


def _read(folder: Path) -> tuple[dict[str, SweepRow], BenchResult | None]:
    try:
        return read_rows((folder / _JSON).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}, None


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose -o") from error
    return folder


def _write(text: str, path: Path) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _prefixed(progress: ProgressCallback, prefix: str) -> ProgressCallback:
    def report(done: int, total: int, text: str) -> None:
        progress(done, total, f"{prefix}: {text}")

    return report
