"""Plots of a search that plays games against a baseline: one point per iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressc.reporting.plots import Plot, draw_curves
from compressc.search.history import Iteration

# More rows than this are thinned out.
_MOST_ROWS = 60


@dataclass(frozen=True)
class LayerRow:
    """What share of its units each layer had lost after an iteration."""

    title: str
    shares: tuple[float, ...]


def draw_iterations(iterations: Sequence[Iteration]) -> tuple[Plot, ...]:
    """Return baseline and best against iterations, and the error of the expected worth."""
    if not iterations:
        return ()
    numbers = [float(event.number) for event in iterations]
    errors = [event.value_error for event in iterations]
    baselines = [event.baseline for event in iterations]
    best = [event.best for event in iterations]
    return (
        draw_curves(
            "score",
            "iteration",
            numbers,
            [
                ("best of the segment", best, "#2563eb", 2.5),
                ("baseline", baselines, "#c2410c", 1.5),
            ],
            from_zero=False,
        ),
        draw_curves(
            "value error",
            "iteration",
            numbers,
            [("mean squared error of the expected worth", errors, "#0d9488", 2.5)],
            from_zero=True,
        ),
    )


def shade_layers(iterations: Sequence[Iteration]) -> tuple[LayerRow, ...]:
    """Return the rows of the picture of layers, the first iteration on top."""
    step = -(-len(iterations) // _MOST_ROWS) or 1
    return tuple(
        LayerRow(f"iteration {event.number}, segment {event.segment}", event.point)
        for event in iterations[::step]
    )
