"""Judging: what the task says of the model before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from compressc.backend.onnx_module import OnnxModule
from compressc.errors import GoalError
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.findings import Metric
from compressc.pipeline.sample_counting import telling_samples
from compressc.program import Program
from compressc.tasks.capabilities import ComparesWithOriginal
from compressc.tasks.protocol import Scored
from compressc.verdict import Check

_OPTION = "--max-drop"


def bounds_drop(artifact: Artifact) -> bool:
    """Return whether the goal says how much accuracy may be lost."""
    return artifact.job.judge is not None


def check_accuracy(artifact: Artifact) -> Artifact:
    """Check on search-validation that no more is lost than the goal allows.

    Raises:
        GoalError: if more is lost.
    """
    after = _validate(artifact, artifact.program, "the result")
    return artifact.with_check(_check_drop(artifact, after))


def check_int8_accuracy(artifact: Artifact) -> Artifact:
    """Check the same of the int8 file in ONNX Runtime.

    Raises:
        GoalError: if more is lost.
    """
    judge = artifact.job.judge
    assert judge is not None
    with artifact.clock.stage("judging int8 on search-validation"):
        after = _judged(judge.validate, OnnxModule(artifact.file, artifact.program).eval())
    check = _check_drop(artifact, after)
    return artifact.with_check(replace(check, name=f"{check.name}, int8"))


def judge_on_test(artifact: Artifact) -> Artifact:
    """Add the metric on the test split, for the report alone; of the int8 file where there is one.

    Nothing without a task, and nothing where the task compares with the original: then the
    agreement is all there is, see :mod:`compressc.pipeline.accuracy`.
    """
    task, clock = artifact.job.task, artifact.clock
    if task is None or isinstance(task, ComparesWithOriginal):
        return artifact
    with clock.stage("evaluating the original"):
        before = _once("evaluate", task, artifact.original, task.evaluate)
    with clock.stage("evaluating the result"):
        after = _judged(task.evaluate, artifact.program.module().eval())
    metric = Metric(task.metric_name, before, after)
    if artifact.int8 is None:
        return replace(artifact, metric=metric)
    with clock.stage("evaluating int8"):
        in_int8 = _judged(task.evaluate, OnnxModule(artifact.file, artifact.program).eval())
    return replace(
        artifact,
        metric=replace(metric, after=in_int8),
        int8=replace(artifact.int8, float_metric=metric.after),
    )


def _validate(artifact: Artifact, program: Program, what: str) -> float:
    """Return the metric on search-validation, for decisions."""
    judge = artifact.job.judge
    assert judge is not None
    with artifact.clock.stage(f"judging {what} on search-validation"):
        return _once("validate", judge, program, judge.validate)


def _once(what: str, task: Scored, program: Program, judge: Callable[[nn.Module], float]) -> float:
    """Return what a task says of a program; runs for several goals ask it of the original."""
    # The task itself is kept, so that no other one takes its place in memory.
    known = program.once((what, id(task)), lambda: (task, _judged(judge, program.module().eval())))
    return known[1]


def _judged(judge: Callable[[nn.Module], float], module: nn.Module) -> float:
    with telling_samples(module):
        return float(judge(module))


def _check_drop(artifact: Artifact, after: float) -> Check:
    """Judge what was lost, in points of the metric on search-validation.

    Raises:
        GoalError: if it is more than allowed, or the metric of either is no number.
    """
    allowed = artifact.job.goal.max_drop
    assert allowed is not None
    before = _validate(artifact, artifact.original, "the original")
    moved = f"from {before:.2f} to {after:.2f}"
    if not before - after <= allowed:
        raise GoalError(
            f"on search-validation the metric went {moved}, and {_OPTION} allows "
            f"{allowed:g} point(s); give the passes that train more epochs (or add --pass "
            "finetune), or a milder target; nothing was written"
        )
    return Check(
        f"drop within {_OPTION}",
        True,
        f"{moved} on search-validation, {allowed:g} point(s) may be lost",
        {"before": before, "after": after, "allowed": allowed},
    )
