"""The recipe where none is named: the most accurate that needs no training and no labels."""

from __future__ import annotations


def choose_recipe(*, latency: bool, data: bool) -> tuple[str, ...]:
    """Return the names of the passes that meet a goal.

    Args:
        latency: whether the goal is a latency.
        data: whether there are samples to compare the small network with the original on.
    """
    if latency:
        return ("latency", "calibrate") if data else ("latency",)
    return ("surgeon", "calibrate") if data else ("magnitude",)
