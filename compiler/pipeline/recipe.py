"""The recipe: a list of passes, and the lowerings that they need in between.

Passes that decide work on a pending plan; passes that train (``on_lowered``) want the small
network. So the plan is lowered, and the lowering proven, before each of those and at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from compressc.costs import Cost
from compressc.equivalence import prove
from compressc.goal import Bound, Goal
from compressc.lowering.folded_constants import FoldedConstants
from compressc.lowering.lowered import lower
from compressc.pass_protocol import Context, Pass, is_on_lowered
from compressc.pipeline.checks import check_equivalence, check_predicted_cost
from compressc.pipeline.decisions import decide
from compressc.pipeline.pass_runs import run_pass
from compressc.plan import Plan
from compressc.program import Program, Step
from compressc.stages import Stages
from compressc.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a recipe made of a program.

    Attributes:
        program: without pending decisions.
        plans: the plans that were applied, one per lowering.
        verdict: the proofs of all lowerings.
        multiple_of: the channel step that the last decisions were made at.
        steps: one per pass, with settings and seconds.
        notes: what the user should know about the decisions.
        constants: what became of the constants of removed channels.
    """

    program: Program
    plans: tuple[Plan, ...]
    verdict: Verdict
    multiple_of: int
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    constants: FoldedConstants = field(default_factory=FoldedConstants)


def follow_recipe(
    program: Program,
    passes: Sequence[Pass],
    context: Context,
    stages: Stages,
    *,
    multiple_of: int,
    may_relax: bool,
) -> Outcome:
    """Run passes in order; lower and prove before each that trains, and at the end.

    Args:
        program: the original, or one with a pending plan.
        passes: what to run.
        context: goal, task and so on; bounds are those of the whole recipe.
        stages: clock and progress.
        multiple_of: the channel step to begin with.
        may_relax: whether finer steps may be tried. Only passes that decide are run again for
            that, never one that trains.

    Raises:
        GoalError: if the goal is out of reach even at the finest step.
        VerificationError: if a lowering does not compute what the masked network computes.
    """
    context = replace(context, original=replace(program, plan=Plan()))
    full = program.coupling.cost(Plan())
    outcome = Outcome(program, (), Verdict(), multiple_of)
    for on_lowered, run in groupby(passes, is_on_lowered):
        if outcome.plans:
            # What counts is the share of the original, not of what is left of it by now.
            context = replace(context, goal=_in_amounts(context.goal, full))
        if on_lowered:
            outcome = _train(_lower(outcome, stages), list(run), context, stages)
        else:
            outcome = _decide(outcome, list(run), context, stages, may_relax)
    if outcome.program.plan or not outcome.plans:
        outcome = _lower(outcome, stages)
    return outcome


def _decide(
    outcome: Outcome, passes: Sequence[Pass], context: Context, stages: Stages, may_relax: bool
) -> Outcome:
    found = decide(
        outcome.program,
        passes,
        context,
        stages,
        multiple_of=outcome.multiple_of,
        may_relax=may_relax,
    )
    return replace(
        outcome,
        program=found.program,
        multiple_of=found.multiple_of,
        steps=(*outcome.steps, *found.steps),
        notes=(*outcome.notes, *found.notes),
        constants=outcome.constants.with_more(found.constants),
    )


def _train(outcome: Outcome, passes: Sequence[Pass], context: Context, stages: Stages) -> Outcome:
    for one in passes:
        if outcome.program.plan:
            outcome = _lower(outcome, stages)
        run = run_pass(outcome.program, one, context, stages)
        outcome = replace(
            outcome,
            program=run.program,
            steps=(*outcome.steps, run.step),
            notes=(*outcome.notes, *run.notes),
        )
    return outcome


def _lower(outcome: Outcome, stages: Stages) -> Outcome:
    """Apply the pending plan, and prove then and there that nothing else changed."""
    planned = outcome.program
    if outcome.plans and not planned.plan:
        return outcome
    with stages.stage("lowering"):
        lowered = lower(planned)
    verdict = outcome.verdict
    suffix = f", lowering {len(outcome.plans) + 1}" if outcome.plans else ""
    with stages.stage("proving that lowered == masked"):
        for check in (
            check_equivalence(prove(planned, lowered)),
            check_predicted_cost(planned.cost, lowered.cost),
        ):
            verdict = verdict.with_check(replace(check, name=f"{check.name}{suffix}"))
    return replace(outcome, program=lowered, plans=(*outcome.plans, planned.plan), verdict=verdict)


def _in_amounts(goal: Goal, full: Cost) -> Goal:
    amounts = {
        what: Bound(bound.absolute(getattr(full, what)), relative=False)
        for what, bound in goal.bounds.items()
    }
    return replace(goal, **amounts)  # type: ignore[arg-type]
