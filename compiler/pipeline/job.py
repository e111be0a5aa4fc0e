"""The job: what is asked for, and the first half of the pipeline, from the model to its recipe.

Where several processes train together, each of them runs the whole job; only the first goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto
from torch import Tensor, nn

from compressc.backend.onnx_export import export_onnx
from compressc.costs import Cost
from compressc.coupling.keep_patterns import check_keep_patterns
from compressc.errors import GoalError, HandOverError
from compressc.frontend.tracing import capture
from compressc.goal import Bound, Goal
from compressc.pass_protocol import Context, Pass, find_pass
from compressc.pipeline.default_recipe import choose_recipe
from compressc.pipeline.integer_precision import IntegerSize, measure_int8_size
from compressc.pipeline.judging import check_fit, require_judge
from compressc.pipeline.recipe import Outcome, follow_recipe
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.runtime.cost_store import read_table
from compressc.runtime.cost_table import CostTable
from compressc.runtime.machine import channel_multiple
from compressc.settings import Settings
from compressc.stages import Stages
from compressc.tasks.protocol import Scored, Task

# What the runtime's kernels take without padding; also into how many parts a layer may be cut.
_FINEST = 4
# What a weight takes in float32, in bytes; in int8 it takes one.
_FLOAT_BYTES = 4


@dataclass(frozen=True, eq=False)
class Job:
    """What is asked for; see :func:`compressc.compress` for each of them."""

    model: nn.Module | Program
    example_inputs: tuple[Any, ...] | Tensor | None
    goal: Goal
    passes: Sequence[Pass] | None = None
    task: Scored | None = None
    constraints: Constraints | None = None
    multiple_of: int | None = None
    work_dir: str | Path | None = None
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, eq=False)
class JobDone:
    """What a job came to.

    Attributes:
        original: the model as it was captured and constrained.
        original_onnx: its file, where the goal needs it; None otherwise.
        outcome: of the recipe.
        device: the machine of the cost table that was brought along; empty for this one.
    """

    original: Program
    original_onnx: ModelProto | None
    outcome: Outcome
    device: str = ""


def run_job(job: Job, stages: Stages) -> JobDone:
    """Capture the model and run its recipe.

    Raises:
        CompresscError: as :func:`compressc.compress`.
    """
    goal = job.goal
    require_judge(job.task, goal)
    table = _device_table(job.settings)
    with stages.stage("capturing the model"):
        original = _captured(job.model, job.example_inputs)
    check_fit(job.task, original)
    with stages.stage("coupling channels"):
        original, step, may_relax = _constrained(
            original, job.constraints, job.multiple_of, isinstance(job.task, Task)
        )
        full = original.coupling.cost(Plan())

    original_onnx, in_int8 = None, None
    if goal.size_bytes is not None:
        with stages.stage("exporting the original"):
            original_onnx = export_onnx(replace(original, plan=Plan()))
        if job.settings.int8 is not None:
            with stages.stage("sizing the original in int8"):
                in_int8 = measure_int8_size(original_onnx, original)

    context = Context(
        goal=_goal_for_passes(goal, full, original_onnx, in_int8),
        task=job.task,
        progress=stages.progress,
        work_dir=Path(job.work_dir) if job.work_dir else None,
        threads=job.settings.threads,
        batch=job.settings.batch,
        cost_table=table,
    )
    passes = job.passes
    if passes is None:
        passes = _default_passes(goal, isinstance(job.task, Task))
    outcome = follow_recipe(
        original, passes, context, stages, multiple_of=step, may_relax=may_relax
    )
    device = f"{table.machine.cpu_model}, {table.threads} threads" if table else ""
    return JobDone(original, original_onnx, outcome, device)


def _captured(
    model: nn.Module | Program, example_inputs: tuple[Any, ...] | Tensor | None
) -> Program:
    if isinstance(model, Program):
        if example_inputs is not None:
            raise HandOverError("a Program carries its example inputs; leave them out")
        return model
    if example_inputs is None:
        raise HandOverError("a module needs example inputs: compress(model, (x,), goal=...)")
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    return capture(model, inputs)


def _constrained(
    program: Program, constraints: Constraints | None, multiple_of: int | None, accurate: bool
) -> tuple[Program, int, bool]:
    """Return the program under its constraints, the channel step, and whether it may shrink.

    Where it matters to be accurate, because there are data, the step is no coarser than layers.
    """
    if program.plan:
        return program, program.constraints.multiple_of, False
    wanted = constraints or program.constraints
    check_keep_patterns(program, wanted.keep)
    may_relax = multiple_of is None and wanted.multiple_of <= 1
    step = multiple_of or (channel_multiple() if may_relax else wanted.multiple_of)
    if may_relax and accurate:
        step = _fine_enough(program, step)
    if step < 1:
        raise GoalError(f"multiple_of {step}: must be 1 or more")
    wanted = replace(wanted, multiple_of=step)
    if wanted != program.constraints:
        program = program.with_constraints(wanted)
    return program, step, may_relax


def _fine_enough(program: Program, step: int) -> int:
    """Return a step that leaves narrow layers a choice: a quarter of what they have, 4 at least.

    Where a layer of 16 channels can only stay whole, all is taken from the others: at the same
    MACs and without training a ResNet-56 kept 66.9 % at steps of 16, 87.0 % at 8, 87.8 % at 4.
    """
    sizes = [group.size for group in program.coupling.groups if group.pinned is None]
    narrow = float(np.quantile(sizes, 0.25)) if sizes else 0.0
    while step > _FINEST and _FINEST * step > narrow:
        step //= 2
    return step


def _default_passes(goal: Goal, data: bool) -> Sequence[Pass]:
    if not goal.bounds and goal.latency_ms is None:
        raise GoalError(
            "the goal asks for nothing; give macs, params, size_bytes or latency_ms, or passes"
        )
    names = choose_recipe(latency=goal.latency_ms is not None, data=data)
    return [find_pass(name)() for name in names]


def _device_table(settings: Settings) -> CostTable | None:
    """Return the cost table that was brought along, before anything else takes time."""
    if settings.cost_table is None:
        return None
    table = read_table(settings.cost_table)
    if table.threads != settings.threads:
        raise GoalError(
            f"{settings.cost_table}: was measured with {table.threads} threads, not "
            f"{settings.threads}; measure it again with --threads {settings.threads}, or give "
            f"--threads {table.threads} here"
        )
    return table


def _goal_for_passes(
    goal: Goal, full: Cost, original_onnx: ModelProto | None, in_int8: IntegerSize | None
) -> Goal:
    """Turn a bound on the file into one on the weights in float32: the graph's own bytes stay.

    In int8 most weights take a quarter; scales, biases and what keeps its precision are taken to
    stay as they are, so that the file ends below the bound rather than above.
    """
    if goal.size_bytes is None or original_onnx is None:
        return goal
    assert isinstance(goal.size_bytes, Bound)
    written, stored, kept = original_onnx.ByteSize(), full.size_bytes, 0
    if in_int8 is not None:
        written, stored = in_int8.file_bytes, in_int8.weight_bytes
        kept = max(0, full.size_bytes - _FLOAT_BYTES * stored)
    # Folding and shape rewrites move a little between graph and weights.
    graph_bytes = kept + 1.05 * max(0, written - stored - kept) + 4096
    allowed = goal.size_bytes.absolute(original_onnx.ByteSize()) - graph_bytes
    if allowed <= 0:
        what = "graph and scales of int8 take" if in_int8 else "graph alone takes"
        raise GoalError(
            f"the {what} about {graph_bytes:.0f} bytes of the ONNX file, more than the size "
            "target; ask for a larger file"
        )
    if in_int8 is not None:
        allowed = kept + _FLOAT_BYTES * allowed
    return replace(goal, size_bytes=Bound(allowed, relative=False))
