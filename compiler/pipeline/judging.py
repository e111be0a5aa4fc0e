"""Judging: what the task says of the model before and after."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.program import Program
from compressc.reporting.report import Metric
from compressc.stages import Stages
from compressc.tasks.capabilities import ChecksModel
from compressc.tasks.protocol import Scored, Task, require_task
from compressc.verdict import Check

_OPTION = "--max-drop"


def require_judge(task: Scored | None, goal: Goal) -> Task | None:
    """Return the task that a bound on the drop is judged by, None where there is no bound.

    Raises:
        DataError: if there is a bound, but no task with a search-validation split.
    """
    return None if goal.max_drop is None else require_task(task, _OPTION)


def check_fit(task: Scored | None, program: Program) -> None:
    """Let a task check that it fits a model, where it can tell.

    Raises:
        DataError: if it does not.
    """
    if isinstance(task, ChecksModel):
        task.check_model(program)


def validate(task: Task, program: Program, what: str, stages: Stages) -> float:
    """Return the metric on search-validation, for decisions."""
    with stages.stage(f"judging {what} on search-validation"):
        return _once("validate", task, program, task.validate)


def judge_on_test(
    task: Scored, original: Program, known: float | None, result: Program, stages: Stages
) -> Metric:
    """Return the metric on the test split, for the report alone.

    Args:
        task: what judges.
        original: the program before.
        known: its metric, where it was judged already; None otherwise.
        result: the program after.
        stages: clock and progress.
    """
    if known is None:
        with stages.stage("evaluating the original"):
            known = _once("evaluate", task, original, task.evaluate)
    with stages.stage("evaluating the result"):
        after = float(task.evaluate(result.module().eval()))
    return Metric(task.metric_name, known, after)


def _once(what: str, task: Scored, program: Program, judge: Callable[[nn.Module], float]) -> float:
    """Return what a task says of a program; runs for several goals ask it of the original."""
    # The task itself is kept, so that no other one takes its place in memory.
    found = program.once((what, id(task)), lambda: (task, float(judge(program.module().eval()))))
    return found[1]


def check_drop(before: float, after: float, allowed: float) -> Check:
    """Judge what was lost, in points of the metric on search-validation.

    Raises:
        GoalError: if it is more than allowed, or the metric of either is no number.
    """
    drop = before - after
    moved = f"from {before:.2f} to {after:.2f}"
    if not drop <= allowed:
        raise GoalError(
            f"on search-validation the metric went {moved}, and {_OPTION} allows {allowed:g} "
            "point(s); give the passes that train more epochs (or add --pass finetune), or a "
            "milder target; nothing was written"
        )
    return Check(
        f"drop within {_OPTION}",
        True,
        f"{moved} on search-validation, {allowed:g} point(s) may be lost",
        {"before": before, "after": after, "allowed": allowed},
    )
