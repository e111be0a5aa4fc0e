"""Assembly: the report of an artifact that went through the whole pipeline."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

from onnx import ModelProto
from torch import Tensor

from compressc.choices.blocks import LEFT_OUT
from compressc.costs import Cost
from compressc.coupling.graph import cost_of, couple
from compressc.goal import Goal, LatencyBound
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.checks import bound_text, latency_text
from compressc.pipeline.stamping import describe_input
from compressc.plan import Plan
from compressc.program import Program
from compressc.reporting.inspection import pins_of
from compressc.reporting.layer_rows import layer_rows
from compressc.reporting.report import Amounts, BlockRow, LayerRow, PassRow, PinRow, Report
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.machine import describe_machine
from compressc.tasks.capabilities import HasNotes


def assemble_report(artifact: Artifact) -> Report:
    """Return what a compression did, what it gained and what was proven."""
    job, before = artifact.job, artifact.original_onnx
    described = describe_input(artifact.original, job.task)
    return Report(
        model=job.name,
        goal=_goal_texts(job.goal),
        before=_amounts(artifact.original, artifact.full_cost, before, artifact.bench, 0),
        after=_amounts(
            artifact.program, cost_of(artifact.program), artifact.file, artifact.bench, 1
        ),
        layers=_layers(artifact),
        passes=tuple(
            PassRow(line.name, line.settings, line.seconds, line.notes) for line in artifact.passes
        ),
        pins=tuple(PinRow(pin.name, pin.reason) for pin in pins_of(couple(artifact.original))),
        verdict=artifact.verdict,
        multiple_of=artifact.channel_step,
        storage=job.settings.storage,
        seed=job.goal.seed,
        bench=artifact.bench,
        metric=artifact.metric,
        data=described.get("compressc.data", ""),
        machine=describe_machine().to_dict(),
        stage_seconds=dict(artifact.clock.seconds),
        notes=_notes(artifact),
        constants=artifact.constants,
        version=version("compressc"),
        int8=artifact.int8,
        accuracy=artifact.accuracy,
        pictures=tuple(picture for line in artifact.program.history for picture in line.pictures),
        blocks=_blocks(artifact),
    )


def _goal_texts(goal: Goal) -> dict[str, str]:
    texts = {what: bound_text(bound) for what, bound in goal.bounds.items()}
    if isinstance(goal.latency_ms, LatencyBound):
        texts["latency"] = latency_text(goal.latency_ms)
    if goal.max_drop is not None:
        texts["drop"] = f"{goal.max_drop:g} point(s) on search-validation"
    return texts


def _amounts(
    program: Program, cost: Cost, file: ModelProto | None, bench: BenchResult | None, place: int
) -> Amounts:
    return Amounts(
        cost.macs,
        cost.params,
        cost.size_bytes,
        file.ByteSize() if file is not None else None,
        zeros=sum(_count_zeros(tensor) for tensor in program.graph_module.parameters()),
        file_params=bench.measurements[place].params if bench is not None else None,
    )


def _count_zeros(tensor: Tensor) -> int:
    return tensor.numel() - int(tensor.count_nonzero())


def _layers(artifact: Artifact) -> tuple[LayerRow, ...]:
    times = artifact.layer_times
    return tuple(
        replace(
            row,
            latency_ms_before=times.before.get(row.name),
            latency_ms_after=times.after.get(row.name),
        )
        for row in layer_rows(artifact.original, artifact.program)
    )


def _blocks(artifact: Artifact) -> tuple[BlockRow, ...]:
    """Return the blocks of the original where a plan left some of them out."""
    blocks = couple(artifact.original).branches.blocks
    gone = {
        name for plan in artifact.plans for name, index in plan.choice.items() if index == LEFT_OUT
    }
    rows = tuple(BlockRow(block.name, block.name in gone) for block in blocks)
    return rows if any(row.left_out for row in rows) else ()


def _notes(artifact: Artifact) -> tuple[str, ...]:
    job, nothing = artifact.job, []
    aims = job.goal.bounds or job.goal.latency_ms is not None
    if aims and all(map(_removes_nothing, artifact.plans)):
        sized = job.settings.int8 is not None and job.goal.size_bytes is not None
        nothing = [
            f"nothing was removed: the original meets the goal {'in int8' if sized else 'as it is'}"
        ]
    history = [note for line in artifact.original.history for note in line.notes]
    of_task = job.task.notes if isinstance(job.task, HasNotes) else ()
    notes = [*nothing, *history, *of_task, *artifact.constants.notes, *artifact.notes]
    return tuple(dict.fromkeys(notes))


def _removes_nothing(plan: Plan) -> bool:
    masks = (*plan.keep.values(), *plan.zero.values())
    return not plan.rank and not plan.choice and all(mask.all() for mask in masks)
