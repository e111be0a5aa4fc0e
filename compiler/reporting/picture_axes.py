"""The axes of a picture: where a value lies in it, and which values are written beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in the picture's coordinates."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """Maps values to places in a picture.

    Attributes:
        low, high: the values at its ends; low may be the larger one.
        start, end: the places of the two, in the picture's coordinates.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value lies; an axis without length has it in the middle."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(
        self, count: int, text: Callable[[float], str], *, whole: bool = False
    ) -> tuple[Tick, ...]:
        """Return evenly spaced ticks from end to end, at whole numbers if asked.

        Args:
            count: how many, 2 or more; fewer where whole numbers coincide.
            text: of a value.
            whole: round the values, and leave out what that makes the same.
        """
        span = self.high - self.low
        values = [self.low + span * part / (count - 1) for part in range(count)]
        if whole:
            values = sorted({float(round(value)) for value in values})
        return tuple(Tick(self(value), text(value)) for value in values)


def trace(x: Axis, y: Axis, pairs: Iterable[tuple[float, float]]) -> str:
    """Return a line through pairs of values, as SVG writes the points of one."""
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in pairs)
