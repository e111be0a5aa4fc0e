"""The driver: from a model and a goal to a verified, measured ONNX file.

:func:`compress` is the whole pipeline, read from top to bottom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onnx import ModelProto
from torch import Tensor, nn

from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.backend.onnx_parity import compare
from compressc.backend.quantization import PRECISION
from compressc.costs import Cost
from compressc.dynamic_axes import list_axis_sizes
from compressc.goal import Goal, LatencyBound
from compressc.latency.padding_choice import pad_where_faster
from compressc.pass_protocol import Pass, ignore_progress
from compressc.pipeline.checks import (
    Counted,
    bound_text,
    check_goal,
    check_latency,
    check_parity,
    latency_text,
)
from compressc.pipeline.comparisons import count_file, time_files, time_rows
from compressc.pipeline.integer_precision import (
    check_int8,
    check_int8_drop,
    judge_int8,
    latency_remark,
    quantize_export,
)
from compressc.pipeline.job import Job, run_job
from compressc.pipeline.judging import check_drop, judge_on_test, require_judge, validate
from compressc.pipeline.recipe import Outcome
from compressc.pipeline.stamping import describe_input, stamp
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.reporting.inspection import pins_of
from compressc.reporting.layer_rows import layer_rows
from compressc.reporting.report import Amounts, PassRow, PinRow, Report
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.machine import describe_machine
from compressc.settings import Settings
from compressc.stages import ProgressCallback, Stages
from compressc.tasks.protocol import Scored, Task
from compressc.verdict import Verdict

_PARITY_BATCHES = (1, 2, 5)


@dataclass(frozen=True, eq=False)
class Result:
    """A compressed model that passed every check.

    Attributes:
        original: the program before.
        plans: the plans that were applied, in order; passes that train lie between them.
        program: the program after; ``program.module()`` is a trainable nn.Module.
        report: what was done, what was gained, what was proven.
        onnx: the verified ONNX model, with the verdict in its ``metadata_props``.
    """

    original: Program
    plans: tuple[Plan, ...]
    program: Program
    report: Report
    onnx: ModelProto
    _run: _Run

    def export(self, path: str | Path, *, storage: str | None = None) -> Path:
        """Write the ONNX file.

        Args:
            path: the file; replaced only when everything succeeded.
            storage: "dense" or "compact"; None for what was verified already. Another storage is
                exported and verified first.

        Raises:
            VerificationError: if the file for another storage fails a check.
            OutputError: if the file cannot be written.
        """
        result = self
        if storage is not None and storage != self._run.settings.storage:
            settings = replace(self._run.settings, storage=storage, measure=False)
            # Test split and latency have been judged: another storage is the same model.
            goal = replace(self._run.goal, latency_ms=None)
            run = replace(self._run, settings=settings, task=None, judge=None, goal=goal)
            result = _finish(run, self.program, Stages(ignore_progress))
        write_onnx(result.onnx, path)
        return Path(path)

    def with_state(
        self,
        state: Mapping[str, Tensor],
        *,
        settings: Settings | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> Result:
        """Return this result with new weights (after fine-tuning), exported and checked anew.

        Args:
            state: ``module.state_dict()`` of a trained ``result.program.module()``.
            settings: how to export and measure; None for the same as before.
            progress: called with (done, total, text).

        Raises:
            VerificationError: if the new ONNX model fails a check.
        """
        verdict = self._run.outcome.verdict.dated("before the weights were trained on")
        run = replace(
            self._run,
            settings=settings or self._run.settings,
            outcome=replace(self._run.outcome, verdict=verdict),
        )
        return _finish(run, self.program.with_state(state), Stages(progress))


@dataclass(frozen=True, eq=False)
class _Run:
    """What stays the same when a result is exported again."""

    model: str
    original: Program
    original_onnx: ModelProto | None
    goal: Goal
    task: Scored | None
    judge: Task | None
    outcome: Outcome
    settings: Settings
    stage_seconds: Mapping[str, float]
    validated: float = 0.0
    metric_before: float | None = None
    described: Mapping[str, str] = field(default_factory=dict)
    device: str = ""


def compress(
    model: nn.Module | Program,
    example_inputs: tuple[Any, ...] | Tensor | None = None,
    *,
    goal: Goal,
    passes: Sequence[Pass] | None = None,
    task: Scored | None = None,
    constraints: Constraints | None = None,
    multiple_of: int | None = None,
    settings: Settings | None = None,
    progress: ProgressCallback = ignore_progress,
    work_dir: str | Path | None = None,
    name: str | None = None,
) -> Result:
    """Compress a model: decide, lower, prove, export, verify, measure.

    Args:
        model: a module, or a captured Program. One with a pending plan may be given with
            ``passes=()``; then the plan is applied as it is.
        example_inputs: one positional argument each, batch of 2 or more; for a module only.
        goal: bounds, budget and seed.
        passes: what decides, in order; None for what
            :func:`compressc.pipeline.default_recipe.choose_recipe` finds best for goal and data.
        task: data and metric; None where no pass needs data.
        constraints: layers that must stay, and so on; None for those of the program.
        multiple_of: channel counts stay multiples of this. None for the constraints' number where
            it is above 1, else for this machine's, relaxed where the goal cannot be met with it.
        settings: storage, and how and where the result will be run: it is measured so.
        progress: called with (done, total, text).
        work_dir: where passes keep state that lets them resume; None to keep none.
        name: what to call the model in the report.

    Raises:
        HandOverError, CaptureError: if the model cannot be used.
        GoalError: if the goal cannot be reached; the message says how far it can go. Also if more
            is lost than ``goal.max_drop`` allows.
        DataError: if the goal bounds the drop, or a pass needs data, and there is no task.
        VerificationError: if a check fails.
    """
    stages = Stages(progress)
    settings = settings or Settings()
    check_int8(settings, goal, task, model if isinstance(model, Program) else None)
    job = Job(
        model, example_inputs, goal, passes, task, constraints, multiple_of, work_dir, settings
    )
    done = run_job(job, stages)
    judge = require_judge(task, goal)
    run = _Run(
        model=name or type(model).__name__,
        original=done.original,
        original_onnx=done.original_onnx,
        goal=goal,
        task=task,
        judge=judge,
        outcome=done.outcome,
        settings=settings,
        stage_seconds=dict(stages.seconds),
        validated=validate(judge, done.original, "the original", stages) if judge else 0.0,
        described=describe_input(done.original, task),
        device=done.device,
    )
    return _finish(run, done.outcome.program, stages)


def _finish(run: _Run, program: Program, stages: Stages) -> Result:
    """Judge, export, verify, measure and report; also for a run with new weights."""
    verdict = run.outcome.verdict
    if run.judge is not None and run.goal.max_drop is not None:
        validated = validate(run.judge, program, "the result", stages)
        verdict = verdict.with_check(check_drop(run.validated, validated, run.goal.max_drop))
        run = replace(run, outcome=replace(run.outcome, verdict=verdict))
    if run.settings.measure and run.original_onnx is None:
        with stages.stage("exporting the original"):
            run = replace(run, original_onnx=export_onnx(replace(run.original, plan=Plan())))
    with stages.stage("exporting to ONNX"):
        model = export_onnx(program, storage=run.settings.storage)
        before = count_file(run.original_onnx, run.original) if run.original_onnx else None
    with stages.stage("aligning channels"):
        model, remark = _align(run, model, program, before)
    with stages.stage("comparing with ONNX Runtime"):
        parity = compare(
            program.module().eval(),
            model,
            program.example_inputs,
            batches=_PARITY_BATCHES,
            dynamic_axes=program.dynamic_axes,
            seed=run.goal.seed,
        )
        verdict = verdict.with_check(check_parity(parity))
    in_float, quantized = None, None
    if run.settings.int8 is not None:
        with stages.stage("quantising to int8"):
            quantized = quantize_export(model, program, run.settings, run.task, run.goal.seed)
        verdict = verdict.with_check(quantized.check)
        if run.judge is not None and run.goal.max_drop is not None:
            with stages.stage("judging int8 on search-validation"):
                drop = check_int8_drop(
                    run.judge, quantized, program, run.validated, run.goal.max_drop
                )
            verdict = verdict.with_check(drop)
        in_float, model = model, quantized.model
    cost, full = program.cost, run.original.coupling.cost(Plan())
    for check in check_goal(run.goal, full, cost, before, count_file(model, program)):
        verdict = verdict.with_check(check)
    stamp(model, {**run.described, **_metadata(run, full, cost, verdict)})
    measured, layers = None, layer_rows(run.original, program)
    if run.settings.measure and run.original_onnx is not None:
        with stages.stage("measuring"):
            measured = time_files(
                run.original_onnx,
                model,
                run.original,
                run.settings,
                seed=run.goal.seed,
                progress=stages.within("measuring"),
                in_float=in_float,
            )
        with stages.stage("timing each layer"):
            layers = time_rows(layers, run.original_onnx, model, run.original, run.settings)
    if isinstance(run.goal.latency_ms, LatencyBound):
        # Behind the stamp, so that the measured file is the one that is written.
        check = check_latency(
            run.goal.latency_ms, _latencies(run), run.device, measured, quantized is not None
        )
        verdict = verdict.with_check(check)
        if quantized is not None and _latencies(run):
            quantized = replace(quantized, notes=(*quantized.notes, latency_remark(check)))
    metric = None
    if run.task is not None:
        metric = judge_on_test(run.task, run.original, run.metric_before, program, stages)
        run = replace(run, metric_before=metric.before)
    row = quantized.row if quantized else None
    if row is not None and quantized is not None and metric is not None:
        row = replace(row, float_metric=metric.after)
        with stages.stage("evaluating int8"):
            metric = judge_int8(run.task, quantized, program, metric)
    report = Report(
        model=run.model,
        goal=_goal_texts(run.goal),
        before=_amounts(full, before.file_bytes if before else None),
        after=_amounts(cost, model.ByteSize()),
        layers=layers,
        passes=tuple(
            PassRow(step.name, step.settings, step.seconds, step.notes)
            for step in run.outcome.steps
        ),
        pins=tuple(PinRow(pin.name, pin.reason) for pin in pins_of(run.original.coupling)),
        verdict=verdict,
        multiple_of=run.outcome.multiple_of,
        storage=run.settings.storage,
        seed=run.goal.seed,
        bench=measured,
        metric=metric,
        data=run.described.get("compressc.data", ""),
        machine=describe_machine().to_dict(),
        stage_seconds={**run.stage_seconds, **stages.seconds},
        notes=(
            *_notes(run, measured),
            *filter(None, [remark]),
            *(quantized.notes if quantized else ()),
        ),
        constants=run.outcome.constants,
        version=version("compressc"),
        int8=row,
    )
    return Result(run.original, run.outcome.plans, program, report, model, run)


def _align(
    run: _Run, model: ModelProto, program: Program, before: Counted | None
) -> tuple[ModelProto, str]:
    """Add zero channels where they are measured to be faster and the goal allows them."""
    settings = run.settings
    elsewhere = run.device or settings.int8 is not None
    if not settings.measure or elsewhere or settings.storage != "dense":
        return model, ""
    shapes = list_axis_sizes(program)
    padded, remark = pad_where_faster(
        model, settings.threads, settings.batch, shapes, settings.seconds / 2
    )
    full, after = run.original.coupling.cost(Plan()), count_file(padded, program)
    if all(check.passed for check in check_goal(run.goal, full, program.cost, before, after)):
        return padded, remark
    return model, ""


def _metadata(run: _Run, full: Cost, cost: Cost, verdict: Verdict) -> dict[str, str]:
    return {
        "compressc.version": version("compressc"),
        "compressc.precision": PRECISION if run.settings.int8 else "float32",
        "compressc.macs": str(cost.macs),
        "compressc.params": str(cost.params),
        "compressc.original_macs": str(full.macs),
        "compressc.original_params": str(full.params),
        "compressc.passes": ", ".join(step.name for step in run.outcome.steps),
        "compressc.seed": str(run.goal.seed),
        "compressc.plan": ", ".join(plan.digest for plan in run.outcome.plans),
        "compressc.verified": verdict.summary(),
    }


def _latencies(run: _Run) -> Mapping[str, float]:
    """Return what the last pass that aimed at a latency knew about it."""
    known = [step.numbers for step in run.outcome.steps if "predicted_latency_ms" in step.numbers]
    return known[-1] if known else {}


def _goal_texts(goal: Goal) -> dict[str, str]:
    texts = {what: bound_text(bound) for what, bound in goal.bounds.items()}
    if isinstance(goal.latency_ms, LatencyBound):
        texts["latency"] = latency_text(goal.latency_ms)
    if goal.max_drop is not None:
        texts["drop"] = f"{goal.max_drop:g} point(s) on search-validation"
    return texts


def _amounts(cost: Cost, file_bytes: int | None) -> Amounts:
    return Amounts(cost.macs, cost.params, cost.size_bytes, file_bytes)


def _notes(run: _Run, measured: BenchResult | None) -> tuple[str, ...]:
    nothing = []
    if run.goal.bounds and all(map(_removes_nothing, run.outcome.plans)):
        sized = run.settings.int8 is not None and run.goal.size_bytes is not None
        nothing = [
            f"nothing was removed: the original meets the goal {'in int8' if sized else 'as it is'}"
        ]
    history = [note for step in run.original.history for note in step.notes]
    return tuple(
        dict.fromkeys(
            [
                *nothing,
                *history,
                *getattr(run.task, "notes", ()),
                *run.outcome.notes,
                *run.outcome.constants.notes,
                *(measured.notes if measured else ()),
            ]
        )
    )


def _removes_nothing(plan: Plan) -> bool:
    masks = (*plan.keep.values(), *plan.zero.values())
    return not plan.rank and not plan.choice and all(mask.all() for mask in masks)
