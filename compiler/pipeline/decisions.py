"""Decisions: running the passes that fill a program's plan, at a channel step that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import gcd

from compressc.errors import GoalError
from compressc.lowering.constant_folding import fold_constants
from compressc.lowering.folded_constants import FoldedConstants
from compressc.pass_protocol import (
    Context,
    Pass,
    has_own_step,
    ignore_progress,
    rehearsal_of,
)
from compressc.pipeline.pass_runs import run_pass
from compressc.program import Program, Step
from compressc.stages import Stages

# A goal counts as reached "from below" when at most this share of the original is given away.
_CLOSE = 0.03
_STEPS = (16, 8, 4, 2, 1)


@dataclass(frozen=True, eq=False)
class Decision:
    """What the passes decided.

    Attributes:
        program: the input program with a pending plan (and new weights, where a pass trained).
        multiple_of: the channel step it was decided at.
        steps: one per pass, with settings and seconds.
        notes: what the user should know about the decision.
        constants: what became of the constants of removed channels.
    """

    program: Program
    multiple_of: int
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    constants: FoldedConstants = field(default_factory=FoldedConstants)


def decide(
    program: Program,
    passes: Sequence[Pass],
    context: Context,
    stages: Stages,
    *,
    multiple_of: int,
    may_relax: bool,
) -> Decision:
    """Run ``passes``; where the goal is out of reach at the channel step, try finer ones.

    Passes that search or measure are rehearsed for that and called once: see ``Pass``.

    Args:
        program: without a pending plan where the step may be relaxed.
        passes: run in order.
        context: goal, seed and so on.
        stages: clock and progress.
        multiple_of: the channel step to begin with.
        may_relax: whether finer steps may be tried: the user did not ask for this one.

    Raises:
        GoalError: if the goal is out of reach even at the finest step.
    """
    if not may_relax:
        return _run(_at_step(program, multiple_of), passes, context, stages, multiple_of)
    if any(has_own_step(one) for one in passes):
        found = _run(_at_step(program, 1), passes, context, stages, 1)
        return replace(found, multiple_of=_step_of(found.program))
    steps = [multiple_of, *(step for step in _STEPS if step < multiple_of)]
    rehearsals = [rehearsal_of(one) for one in passes]
    if all(one is other for one, other in zip(passes, rehearsals, strict=True)):
        found, remarks = _closest(program, passes, context, stages, steps)
    else:
        with stages.stage("finding the channel step"):
            quiet, unsaved = Stages(ignore_progress), replace(context, work_dir=None)
            rehearsed, remarks = _closest(program, rehearsals, unsaved, quiet, steps)
        step = rehearsed.multiple_of
        found = _run(_at_step(program, step), passes, context, stages, step)
    return replace(found, notes=(*remarks, *found.notes))


def _closest(
    program: Program,
    passes: Sequence[Pass],
    context: Context,
    stages: Stages,
    steps: Sequence[int],
) -> tuple[Decision, tuple[str, ...]]:
    """Return the decision at the first step that meets the goal closely, or the closest one.

    Also returns remarks on the step, for the user.
    """
    closest: Decision | None = None
    failure: GoalError | None = None
    for step in steps:
        if closest is not None and 2 * step < steps[0]:
            break  # much finer steps give away more speed than the last points are worth
        try:
            found = _run(_at_step(program, step), passes, context, stages, step)
        except GoalError as error:
            failure = error
            continue
        if closest is None or _slack(found.program, context) < _slack(closest.program, context):
            closest = found
        if _slack(closest.program, context) <= _CLOSE:
            break
    if closest is None:
        assert failure is not None
        raise failure
    return closest, _remarks(closest.multiple_of, steps[0], failure)


def _remarks(step: int, wanted: int, failure: GoalError | None) -> tuple[str, ...]:
    if step == wanted:
        return ()
    why = "cannot be reached" if failure else "would have been overshot by over 3 points"
    return (
        f"channel counts are multiples of {step}: at this machine's step of {wanted} the goal "
        f"{why}; wider steps run faster per MAC",
    )


def _at_step(program: Program, step: int) -> Program:
    if program.constraints.multiple_of == step:
        return program
    return program.with_constraints(replace(program.constraints, multiple_of=step))


def _step_of(program: Program) -> int:
    """Return what all counts that were chosen are multiples of."""
    return gcd(*(int(mask.sum()) for mask in program.plan.keep.values())) or 1


def _run(
    program: Program, passes: Sequence[Pass], context: Context, stages: Stages, multiple_of: int
) -> Decision:
    steps: list[Step] = []
    notes: list[str] = []
    constants = FoldedConstants()
    program = _with_zeros_pending(program)
    for one in passes:
        run = run_pass(program, one, context, stages)
        program, folded = fold_constants(program, run.program, context.goal)
        constants = constants.with_more(folded)
        steps.append(run.step)
        notes.extend(run.notes)
    return Decision(program, multiple_of, tuple(steps), tuple(notes), constants)


def _with_zeros_pending(program: Program) -> Program:
    """Put zeros that were decided earlier back into the plan, so that no pass undoes them."""
    names = [name for name in program.sparse_weights if name not in program.plan.zero]
    if not names:
        return program
    state = program.state()
    zero = {name: (state[name] != 0).cpu().numpy() for name in names}
    return program.with_plan(program.plan.with_zero(zero))


def _slack(program: Program, context: Context) -> float:
    """Return how far below its tightest bound a program lies, as a share of the original."""
    bounds = context.goal.bounds
    if not bounds or not (program.plan.keep or program.plan.rank):
        return 0.0
    full = program.coupling.cost(type(program.plan)())
    cost = program.cost
    slacks: list[float] = [
        (bound.absolute(getattr(full, what)) - getattr(cost, what)) / getattr(full, what)
        for what, bound in bounds.items()
    ]
    return min(slacks)
