"""The recipe: a list of passes, and the lowerings that they need in between.

Passes that decide work on a pending plan; passes that train want the small network. So the plan is
lowered, and the lowering proven, before each of those and at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, takewhile
from pathlib import Path

from compressc.bounds import Bounds
from compressc.clock import Clock, ignore_progress
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass
from compressc.costs import Cost
from compressc.coupling.graph import cost_of
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.lowering.lowered import lower
from compressc.pass_fields import build_pass
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.checks import check_equivalence, check_predicted_cost
from compressc.pipeline.decisions import decide, run_in_order
from compressc.pipeline.default_recipe import choose_recipe
from compressc.pipeline.file_size import goal_for_passes
from compressc.pipeline.job import Job
from compressc.pipeline.sampling import MAKING_SHARE
from compressc.plan import Plan
from compressc.proof.equivalence import prove


def check_reach(artifact: Artifact) -> Artifact:
    """Check that the goal is within reach, before time goes into inputs to decide on.

    Passes are rehearsed up to the first whose rehearsal needs data.

    Raises:
        GoalError: if the goal is out of reach even at the finest channel step, or asks for nothing.
    """
    rehearsals = [entry.rehearsal() for entry in _passes(artifact.job)]
    blind = list(takewhile(lambda entry: entry.declares.needs == "nothing", rehearsals))
    # What measures is not cheap to rehearse; it needs no data either.
    cheap = list(takewhile(lambda entry: entry.declares.deterministic, blind))
    planned = list(takewhile(lambda entry: entry.declares.runs_on == "planned", cheap))
    quiet = replace(artifact, clock=Clock(ignore_progress))
    context = replace(_context(artifact), work_dir=None, progress=ignore_progress)
    if planned:
        decide(quiet, planned, context)
    return artifact


def follow_recipe(artifact: Artifact) -> Artifact:
    """Run the passes of the job, or those of the default recipe, until nothing is pending.

    Raises:
        GoalError: if the goal is out of reach even at the finest channel step, or asks for nothing.
        VerificationError: if a lowering does not compute what the masked network computes.
    """
    return run_recipe(artifact, _passes(artifact.job), _context(artifact))


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


def _context(artifact: Artifact) -> Context:
    job = artifact.job
    return Context(
        goal=goal_for_passes(artifact),
        task=job.task,
        progress=artifact.clock.progress,
        work_dir=Path(job.work_dir) if job.work_dir else None,
        original=replace(artifact.original, plan=Plan()),
        target=job.target,
    )


def _passes(job: Job) -> tuple[Pass, ...]:
    chosen, goal = job.chosen_passes, job.goal
    if chosen is not None:
        return chosen
    if not goal.bounds and goal.latency_ms is None:
        raise GoalError(
            "the goal asks for nothing; give macs, params, size_bytes or latency_ms, or passes"
        )
    names = choose_recipe(latency=goal.latency_ms is not None, samples=job.has_samples)
    return tuple(_build(name, job) for name in names)


def _build(name: str, job: Job) -> Pass:
    """Return a pass of the default recipe, bounded by the time that repair may take."""
    settings = {}
    if name == "calibrate" and job.repair.seconds is not None:
        settings["refine_seconds"] = (1 - MAKING_SHARE) * job.repair.seconds
    built: Pass = build_pass(find_pass(name), settings)
    return built
