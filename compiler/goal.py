"""Goals: what the user asks for, and what a search may spend."""

from __future__ import annotations

import math
import re
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
    """Read a bound as users write it: below 1 a ratio, 2 and above an amount.

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
class LatencyBound(Bound):
    """An upper bound on latency: a ratio of the original's, or milliseconds.

    Attributes:
        percentile: what is bounded: p50, p90 or p99 of single calls.
    """

    percentile: str = "p50"


_LATENCY = re.compile(
    r"(?P<value>\d+\.?\d*|\.\d+)\s*(?P<unit>ms|us|%|)(@(?P<percentile>p50|p90|p99))?",
    re.IGNORECASE,
)
_MILLISECONDS = {"": 1.0, "ms": 1.0, "us": 1e-3}


def parse_latency(value: float | str | Bound | None) -> LatencyBound | None:
    """Read a latency as users write it: ``0.5`` and ``50%`` keep half, ``5ms@p90`` is an amount.

    A bare number below 1 is a ratio, one of 2 or more is milliseconds.

    Raises:
        GoalError: if the value is neither, or between 1 and 2, where it may mean both.
    """
    if value is None or isinstance(value, LatencyBound):
        return value
    if isinstance(value, Bound):
        return LatencyBound(value.value, value.relative)
    match = _LATENCY.fullmatch(str(value).strip())
    if match is None:
        raise GoalError(
            f"latency target '{value}': give a ratio such as 0.5, or a time such as 5ms or 5ms@p90"
        )
    amount, unit = float(match["value"]), match["unit"].lower()
    percentile = (match["percentile"] or "p50").lower()
    if unit == "%":
        amount /= 100
    relative = unit == "%" or (not unit and amount < 1)
    if amount <= 0 or (relative and amount >= 1):
        raise GoalError(
            f"latency target {value}: must be above 0, and a ratio below 1; 0.5 keeps half"
        )
    if relative:
        return LatencyBound(amount, True, percentile)
    if not unit and amount < 2:
        raise GoalError(
            f"latency target {value}: a ratio must be below 1 (0.5 keeps half); write {amount:g}ms "
            "for milliseconds"
        )
    return LatencyBound(amount * _MILLISECONDS[unit], False, percentile)


@dataclass(frozen=True)
class Goal:
    """Upper bounds on the result, and the budget and seed of the search for it.

    Attributes:
        macs, params, size_bytes: a ratio of the original below 1 (0.5 keeps half), an absolute
            amount of 2 or more, a :class:`Bound`, or None for no bound.
        latency_ms: a ratio below 1 or milliseconds, ``"5ms@p90"``, a :class:`Bound`, or None; met
            by passes that measure, such as ``latency``.
        max_drop: the accuracy, in points of the task's metric, that may be lost; None for any.
        trials: how many candidates a search may score; None for the pass's default.
        seconds: how long a search may take; None for no limit.
        seed: seed of every random choice.
    """

    macs: float | Bound | None = None
    params: float | Bound | None = None
    size_bytes: float | Bound | None = None
    latency_ms: float | str | Bound | None = None
    max_drop: float | None = None
    trials: int | None = None
    seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for what in ("macs", "params", "size_bytes"):
            object.__setattr__(self, what, parse_bound(what, getattr(self, what)))
        object.__setattr__(self, "latency_ms", parse_latency(self.latency_ms))
        if self.max_drop is not None and not (self.max_drop >= 0):
            raise GoalError(f"max_drop {self.max_drop:g}: must be 0 or more")
        if self.trials is not None and self.trials < 1:
            raise GoalError(f"trials {self.trials}: a search must try at least 1 candidate")
        if self.seconds is not None and not self.seconds >= 0:
            raise GoalError(f"seconds {self.seconds:g}: must be 0 or more")

    @property
    def bounds(self) -> dict[str, Bound]:
        """The bounds that are set, by name: macs, params, size_bytes."""
        bounds = {what: getattr(self, what) for what in ("macs", "params", "size_bytes")}
        return {what: bound for what, bound in bounds.items() if bound is not None}

    @property
    def budget(self) -> str:
        """What a search may spend, in words such as ``300 trials``; empty where it is free."""
        limits = []
        if self.trials is not None:
            limits.append(f"{self.trials} trials")
        if self.seconds is not None:
            limits.append(f"{self.seconds:g} seconds")
        return " and ".join(limits)
