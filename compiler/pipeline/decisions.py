"""Decisions: running the passes that fill a program's plan, at a channel step that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

from compressc.bounds import Bounds
from compressc.clock import Clock, ignore_progress
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.coupling.graph import cost_of, couple
from compressc.errors import GoalError
from compressc.lowering.constant_folding import fold_constants
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.pass_runs import run_pass
from compressc.plan import Plan
from compressc.program import Program

# A goal counts as reached "from below" when at most this share of the original is given away.
_CLOSE = 0.03
_CHANNEL_STEPS = (16, 8, 4, 2, 1)


def decide(artifact: Artifact, passes: Sequence[Pass], context: Context) -> Artifact:
    """Run ``passes``; where the goal is out of reach at the channel step, try finer ones.

    Passes that search or measure are rehearsed for that and called once (see ``Pass.rehearsal``).
    Passes that train are never called for it.

    Args:
        artifact: its program is without a pending plan where the step may be relaxed.
        passes: run in order.
        context: goal, seed and so on.

    Raises:
        GoalError: if the goal is out of reach even at the finest step.
    """
    first = artifact.channel_step
    if not artifact.may_relax:
        return _decide_at(artifact, first, passes, context)
    if any(entry.declares.channel_step == "own" for entry in passes):
        decided = _decide_at(artifact, 1, passes, context)
        return replace(decided, channel_step=_step_of(decided.program))
    steps = [first, *(step for step in _CHANNEL_STEPS if step < first)]
    rehearsals = [entry.rehearsal() for entry in passes]
    if all(entry is other for entry, other in zip(passes, rehearsals, strict=True)):
        decided, remarks = _closest(artifact, passes, context, steps)
    else:
        with artifact.clock.stage("finding the channel step"):
            quiet = replace(artifact, clock=Clock(ignore_progress))
            unsaved = replace(context, work_dir=None)
            rehearsed, remarks = _closest(quiet, rehearsals, unsaved, steps)
        decided = _decide_at(artifact, rehearsed.channel_step, passes, context)
    return decided.with_notes(*remarks)


def run_in_order(artifact: Artifact, passes: Sequence[Pass], context: Context) -> Artifact:
    """Run passes on the artifact's program as it is, folding the constants that they free."""
    for entry in passes:
        before = artifact.program
        run = run_pass(before, entry, context, artifact.clock)
        program, folded = fold_constants(before, run.program, context.goal)
        artifact = replace(
            artifact,
            program=program,
            passes=(*artifact.passes, run.step),
            constants=artifact.constants.with_more(folded),
        ).with_notes(*run.notes)
    return artifact


def _decide_at(artifact: Artifact, step: int, passes: Sequence[Pass], context: Context) -> Artifact:
    program = artifact.program
    if program.constraints.multiple_of != step:
        program = program.with_constraints(replace(program.constraints, multiple_of=step))
    program = _with_zeros_pending(program)
    return run_in_order(replace(artifact, program=program, channel_step=step), passes, context)


def _closest(
    artifact: Artifact, passes: Sequence[Pass], context: Context, steps: Sequence[int]
) -> tuple[Artifact, tuple[str, ...]]:
    """Return the decision at the first step that meets the goal closely, or the closest one.

    Also returns remarks on the step, for the user.
    """
    closest: Artifact | None = None
    failure: GoalError | None = None
    bounds = Bounds(context.goal.bounds, couple(artifact.program).cost(Plan()))
    for step in steps:
        if closest is not None and 2 * step < steps[0]:
            break  # much finer steps give away more speed than the last points are worth
        try:
            decided = _decide_at(artifact, step, passes, context)
        except GoalError as error:
            failure = error
            continue
        if closest is None or _slack(decided.program, bounds) < _slack(closest.program, bounds):
            closest = decided
        if _slack(closest.program, bounds) <= _CLOSE:
            break
    if closest is None:
        assert failure is not None
        raise failure
    return closest, _remarks(closest.channel_step, steps[0], failure)


def _remarks(step: int, asked: int, failure: GoalError | None) -> tuple[str, ...]:
    if step == asked:
        return ()
    why = "cannot be reached" if failure else "would have been overshot by over 3 points"
    return (
        f"channel counts are multiples of {step}: at the target's step of {asked} the goal {why}; "
        "wider steps run faster per MAC",
    )


def _step_of(program: Program) -> int:
    """Return what all counts that were chosen are multiples of."""
    return gcd(*(int(mask.sum()) for mask in program.plan.keep.values())) or 1


def _with_zeros_pending(program: Program) -> Program:
    """Put zeros that were decided earlier back into the plan, so that no pass undoes them."""
    names = [name for name in program.sparse_weights if name not in program.plan.zero]
    if not names:
        return program
    state = program.state()
    zero = {name: (state[name] != 0).cpu().numpy() for name in names}
    return program.with_plan(program.plan.with_zero(zero))


def _slack(program: Program, bounds: Bounds) -> float:
    """Return how far below its tightest bound a program lies, as a share of the original."""
    if not bounds or not (program.plan.keep or program.plan.rank):
        return 0.0
    return bounds.slack(cost_of(program))
