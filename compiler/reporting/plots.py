"""Plots: curves and dots over axes, as a page's templates draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressc.reporting.picture_axes import Axis, Tick, trace

WIDTH, HEIGHT = 960.0, 220.0
LEFT, BOTTOM, TOP = 62.0, 26.0, 8.0
TICKS = 5
_MARGIN = 12.0


@dataclass(frozen=True)
class Line:
    """A curve: its points as SVG writes them, colour, width, and what it is."""

    name: str
    points: str
    colour: str
    width: float


@dataclass(frozen=True)
class Dot:
    """One candidate in a plot; ``age`` is 0 for the first generation and 1 for the last."""

    x: float
    y: float
    age: float
    title: str


@dataclass(frozen=True)
class Plot:
    """Axes with curves and dots."""

    label: str
    across: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    dots: tuple[Dot, ...] = ()


Series = tuple[str, Sequence[float], str, float]


def draw_curves(
    label: str, across: str, places: Sequence[float], series: Sequence[Series], *, from_zero: bool
) -> Plot:
    """Return curves over the same places.

    Args:
        label: what is plotted.
        across: what the places are.
        places: ascending.
        series: name, one value per place, colour and width of each curve.
        from_zero: whether the axis begins at 0 where all values are positive.
    """
    low = min(min(values) for _, values, _, _ in series)
    low = min(low, 0.0) if from_zero else low
    high = max(max(values) for _, values, _, _ in series)
    x, y = (
        across_axis(places[0], places[-1]),
        vertical_axis(min(low, 0.0) if from_zero else low, high),
    )
    lines = tuple(
        Line(name, trace(x, y, zip(places, values, strict=True)), colour, width)
        for name, values, colour, width in series
    )
    return Plot(label, across, x.ticks(TICKS, shorten, whole=True), y.ticks(TICKS, shorten), lines)


def across_axis(low: float, high: float) -> Axis:
    """Return the axis from left to right."""
    return Axis(low, high, LEFT, WIDTH - _MARGIN)


def vertical_axis(low: float, high: float) -> Axis:
    """Return the axis from bottom to top, with room around the values.

    What is never negative (a loss, a drift, a share) has no axis below 0.
    """
    room = 0.05 * (high - low) or 0.5
    bottom = low - room if low < 0 else max(low - room, 0.0)
    return Axis(bottom, high + room, HEIGHT - BOTTOM, TOP)


def shorten(value: float) -> str:
    """Return a number as ticks show it."""
    return f"{value:.3g}"
