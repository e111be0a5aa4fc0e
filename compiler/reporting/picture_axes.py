"""The axes of a picture: where a value lies in it, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# Of a step: what rounding of floats may take away.
_NEARLY = 1e-6


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
        """Return ticks at round numbers: multiples of 1, 2 or 5 times a power of ten.

        Args:
            count: about how many, 2 or more.
            text: of a value.
            whole: whole numbers only.
        """
        low, high = sorted((self.low, self.high))
        step = _round_step((high - low) / max(count - 1, 1))
        step = max(step, 1.0) if whole else step
        if step <= 0:
            return (Tick(self(low), text(low)),)
        first, last = math.ceil(low / step - _NEARLY), math.floor(high / step + _NEARLY)
        values = [number * step for number in range(first, last + 1)]
        return tuple(Tick(self(value), text(value)) for value in values)


def _round_step(least: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten from ``least`` up; 0 for 0."""
    if least <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - _NEARLY))


def trace(x: Axis, y: Axis, pairs: Iterable[tuple[float, float]]) -> str:
    """Return a line through pairs of values, as SVG writes the points of one."""
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in pairs)
