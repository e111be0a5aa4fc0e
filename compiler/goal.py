"""Goals: what the user asks for, and what a search may spend."""

from __future__ import annotations

import math
from dataclasses import dataclass

from compressc.errors import GoalError


@dataclass(frozen=True)
class Bound:
    """An upper bound: a ratio of the original (``relative``) or an absolute amount."""

    value: float
    relative: bool

    def absolute(self, original: float) -> float:
        """Return the bound in the unit of ``original``."""
        return self.value * original if self.relative else self.value


def parse_bound(what: str, value: float | int | Bound | None) -> Bound | None:
    """Read a bound as users write it: below 1 a ratio, 1 and above (or an int) an amount.

    Raises:
        GoalError: if the value is not a positive finite number, or lies between 1 and 2.
    """
    if value is None or isinstance(value, Bound):
        return value
    if not math.isfinite(value) or value <= 0:
        raise GoalError(
            f"{what} target {value:g}: must be above 0; give a ratio such as 0.5 to keep half, "
            "or an amount such as 2e9"
        )
    if value < 1:
        return Bound(float(value), relative=True)
    if value < 2:
        raise GoalError(
            f"{what} target {value:g}: a ratio must be below 1 (0.5 keeps half); "
            "an absolute amount must be 2 or more"
        )
    return Bound(float(value), relative=False)


@dataclass(frozen=True)
class Goal:
    """Upper bounds on the result, and the budget and seed of the search for it.

    Attributes:
        macs, params, size_bytes: a ratio of the original below 1 (0.5 keeps half), an absolute
            amount of 2 or more, a :class:`Bound`, or None for no bound.
        max_drop: the accuracy, in points of the task's metric, that may be lost; None for any.
        trials: how many candidates a search may score; None for the pass's default.
        seconds: how long a search may take; None for no limit.
        seed: seed of every random choice.
    """

    macs: float | Bound | None = None
    params: float | Bound | None = None
    size_bytes: float | Bound | None = None
    max_drop: float | None = None
    trials: int | None = None
    seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for what in ("macs", "params", "size_bytes"):
            object.__setattr__(self, what, parse_bound(what, getattr(self, what)))
        if self.max_drop is not None and not (self.max_drop >= 0):
            raise GoalError(f"max_drop {self.max_drop:g}: must be 0 or more")

    @property
    def bounds(self) -> dict[str, Bound]:
        """The bounds that are set, by name: macs, params, size_bytes."""
        found = {what: getattr(self, what) for what in ("macs", "params", "size_bytes")}
        return {what: bound for what, bound in found.items() if bound is not None}
