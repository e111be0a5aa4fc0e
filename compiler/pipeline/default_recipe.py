"""The recipe where none is named: the most accurate that needs no training and no labels."""

from __future__ import annotations


def choose_recipe(*, latency: bool, samples: bool) -> tuple[str, ...]:
    """Return the names of the passes that meet a goal.

    Args:
        latency: whether the goal is a latency.
        samples: whether there are inputs, real or synthetic, to compare the small network with the
            original on. Without them the weights alone decide, and nothing is repaired.
    """
    if latency:
        return ("latency", "calibrate") if samples else ("latency",)
    return ("surgeon", "calibrate") if samples else ("magnitude",)
