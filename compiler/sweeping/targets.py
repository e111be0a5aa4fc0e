"""Targets of a sweep: one goal each, and what each is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compressc.errors import GoalError
from compressc.goal import Bound, Goal, LatencyBound

KINDS = ("macs", "params", "size_bytes", "latency_ms")


def read_targets(
    targets: Sequence[float | str | Bound], kind: str, common: Goal
) -> dict[str, Goal]:
    """Return the goal of each target by its name; a target named twice counts once.

    Raises:
        GoalError: if the kind does not exist, a target makes no sense, or there is none.
    """
    if kind not in KINDS:
        raise GoalError(f"target kind '{kind}' does not exist; choose {', '.join(KINDS)}")
    if common.bounds or common.latency_ms is not None:
        raise GoalError("a sweep's goal has no bounds of its own; give them as targets")
    goals: dict[str, Goal] = {}
    for target in targets:
        if isinstance(target, str) and kind != "latency_ms":
            raise GoalError(f"target '{target}': give a number")
        goal = replace(common, **{kind: target})  # type: ignore[arg-type]
        goals.setdefault(label(getattr(goal, kind)), goal)
    if not goals:
        raise GoalError("a sweep needs targets, such as 0.7, 0.5, 0.35")
    return goals


def label(bound: Bound) -> str:
    """Return a target as it stands in file names: 0.5, 5ms@p90, 2000000."""
    if isinstance(bound, LatencyBound):
        percentile = "" if bound.percentile == "p50" else f"@{bound.percentile}"
        return f"{bound.value:g}{'' if bound.relative else 'ms'}{percentile}"
    return f"{bound.value:g}" if bound.relative else f"{bound.value:.0f}"
