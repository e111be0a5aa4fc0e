"""The recipe: a list of passes, and the lowerings that they need in between.

Passes that decide work on a pending plan; passes that train want the small network. So the plan is
lowered, and the lowering proven, before each of those and at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass
from compressc.costs import Cost
from compressc.coupling.graph import cost_of
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.lowering.lowered import lower
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.checks import check_equivalence, check_predicted_cost
from compressc.pipeline.decisions import decide, run_in_order
from compressc.pipeline.default_recipe import choose_recipe
from compressc.pipeline.file_size import goal_for_passes
from compressc.pipeline.job import Job
from compressc.plan import Plan
from compressc.proof.equivalence import prove


def follow_recipe(artifact: Artifact) -> Artifact:
    """Run the passes of the job, or those of the default recipe, until nothing is pending.

    Raises:
        GoalError: if the goal is out of reach even at the finest channel step, or asks for nothing.
        VerificationError: if a lowering does not compute what the masked network computes.
    """
    job = artifact.job
    passes = job.chosen_passes
    if passes is None:
        passes = _default_passes(job)
    context = Context(
        goal=goal_for_passes(artifact),
        task=job.task,
        progress=artifact.clock.progress,
        work_dir=Path(job.work_dir) if job.work_dir else None,
        original=replace(artifact.original, plan=Plan()),
        target=job.target,
    )
    return run_recipe(artifact, passes, context)


def run_recipe(artifact: Artifact, passes: Sequence[Pass], context: Context) -> Artifact:
    """Run passes in order; lower and prove before each that trains, and at the end.

    Args:
        artifact: its program is the original, or one with a pending plan.
        passes: what to run.
        context: goal, task and so on; bounds are those of the whole recipe.

    Raises:
        GoalError: if the goal is out of reach even at the finest channel step.
        VerificationError: if a lowering does not compute what the masked network computes.
    """
    full = artifact.full_cost
    for runs_on, listed in groupby(passes, lambda entry: entry.declares.runs_on):
        if artifact.plans:
            # What counts is the share of the original, not of what is left of it by now.
            context = replace(context, goal=_in_amounts(context.goal, full))
        if runs_on == "planned":
            artifact = decide(artifact, list(listed), context)
            continue
        for training_pass in listed:
            if artifact.program.plan or not artifact.plans:
                artifact = _lower(artifact)
            artifact = run_in_order(artifact, [training_pass], context)
    if artifact.program.plan or not artifact.plans:
        artifact = _lower(artifact)
    return artifact


def _lower(artifact: Artifact) -> Artifact:
    """Apply the pending plan, and prove then and there that nothing else changed."""
    planned = artifact.program
    with artifact.clock.stage("lowering"):
        lowered = lower(planned)
    suffix = f", lowering {len(artifact.plans) + 1}" if artifact.plans else ""
    with artifact.clock.stage("proving that lowered == masked"):
        for check in (
            check_equivalence(prove(planned, lowered)),
            check_predicted_cost(cost_of(planned), cost_of(lowered)),
        ):
            artifact = artifact.with_check(replace(check, name=f"{check.name}{suffix}"))
    return replace(artifact, program=lowered, plans=(*artifact.plans, planned.plan))


def _in_amounts(goal: Goal, full: Cost) -> Goal:
    amounts = Bounds(goal.bounds, full).in_amounts().limits
    return replace(goal, **amounts)  # type: ignore[arg-type]


def _default_passes(job: Job) -> tuple[Pass, ...]:
    goal = job.goal
    if not goal.bounds and goal.latency_ms is None:
        raise GoalError(
            "the goal asks for nothing; give macs, params, size_bytes or latency_ms, or passes"
        )
    names = choose_recipe(latency=goal.latency_ms is not None, data=job.has_data)
    return tuple(find_pass(name)() for name in names)
