"""Goals: what the user asks for, and what a search may spend."""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import InitVar, dataclass

from compressc.errors import GoalError


@dataclass(frozen=True)
class Bound:
    """An upper bound: a ratio of the original (``relative``) or an absolute amount."""

    value: float
    relative: bool

    def absolute(self, original: float) -> float:
        """Return the bound in the unit of ``original``."""
        return self.value * original if self.relative else self.value


_AMOUNT = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(%|(?:[kmgt]i?)?b?)", re.IGNORECASE | re.ASCII
)
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bound(what: str, value: float | str | Bound, *, of_bytes: bool = False) -> Bound:
    """Read a bound as users write it: below 1 a ratio, 2 and above an amount.

    Texts may have a unit: ``50%``, ``2G``, ``500M``, ``4MB``, ``4MiB``.

    Args:
        what: what is bounded, for the error.
        value: a number, a text, or a bound, which is returned as it is.
        of_bytes: whether a size in bytes is bounded, so that texts such as "4MB" make sense.

    Raises:
        GoalError: if the value is no number, not positive and finite, or lies between 1 and 2.
    """
    if isinstance(value, Bound):
        return value
    if isinstance(value, str):
        return _parse_amount(what, value, of_bytes)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise GoalError(
            f"{what} target {value!r}: not a number; give a ratio such as 0.5 (keep half), or an "
            "amount such as 2e9"
        )
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


def _parse_amount(what: str, text: str, of_bytes: bool) -> Bound:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        if text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise GoalError(f"{what} {text}: must be a finite number above 0")
        raise GoalError(
            f"{what} '{text}': not a number; give a ratio such as 0.5 (keep half), "
            "or an amount such as 2G, 500M or 4MB"
        )
    value, unit = float(match[1]), match[2].lower()
    if unit == "%":
        if not 0 < value < 100:
            raise GoalError(f"{what} {text}: a percentage must lie between 0 and 100")
        return Bound(value / 100, relative=True)
    if unit == "":
        return parse_bound(what, value)
    if value <= 0:
        raise GoalError(f"{what} {text}: must be above 0")
    if unit.endswith("b") and not of_bytes:
        raise GoalError(
            f"{what} {text}: is a size in bytes; give a ratio such as 0.5, or an amount such as "
            "500M, or use --target-size"
        )
    prefix = unit.removesuffix("b")
    factor = _BINARY[prefix[0]] if prefix.endswith("i") else _DECIMAL[prefix]
    return Bound(value * factor, relative=False)


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


def _halved(flops: Bound) -> Bound:
    """Return the bound on MACs that a bound on FLOPs is."""
    return flops if flops.relative else Bound(flops.value / 2, relative=False)


def read_goal(goal: object) -> Goal:
    """Return the goal that stands where a goal is asked for.

    Args:
        goal: a :class:`Goal`, or a number or text, which bounds the MACs.

    Raises:
        GoalError: if it is something else, or makes no sense.
    """
    if isinstance(goal, Goal):
        return goal
    if isinstance(goal, (str, Bound)) or (
        isinstance(goal, numbers.Real) and not isinstance(goal, bool)
    ):
        return Goal(macs=goal)  # type: ignore[arg-type]
    raise GoalError(
        f"goal {goal!r}: give Goal(macs=0.5) or the like, or a ratio of the MACs such as 0.5"
    )


@dataclass(frozen=True)
class Goal:
    """Upper bounds on the result, and the budget and seed of the search for it.

    Attributes:
        macs, params, size_bytes: a ratio of the original below 1 (0.5 keeps half), an absolute
            amount of 2 or more, a text such as "50%", "2G" or "4MB", a :class:`Bound`, or None for
            no bound.
        latency_ms: a ratio below 1 or milliseconds, ``"5ms@p90"``, a :class:`Bound`, or None; met
            by passes that measure, such as ``latency``.
        max_drop: the accuracy, in points of the task's metric, that may be lost; None for any.
        trials: how many candidates a search may score; None for the pass's default.
        seconds: how long a search may take; None for no limit.
        seed: seed of every random choice.

    ``Goal(flops=...)`` is another way to write ``macs``: a ratio means the same, an amount is twice
    the MACs.

    Raises:
        GoalError: if a number makes no sense, or both MACs and FLOPs are given.
    """

    macs: float | str | Bound | None = None
    params: float | str | Bound | None = None
    size_bytes: float | str | Bound | None = None
    latency_ms: float | str | Bound | None = None
    max_drop: float | None = None
    trials: int | None = None
    seconds: float | None = None
    seed: int = 0
    flops: InitVar[float | str | Bound | None] = None

    def __post_init__(self, flops: float | str | Bound | None) -> None:
        if flops is not None:
            if self.macs is not None:
                raise GoalError("MACs and FLOPs are the same bound; give one of them")
            object.__setattr__(self, "macs", _halved(parse_bound("flops", flops)))
        for what in ("macs", "params", "size_bytes"):
            value = getattr(self, what)
            if value is not None:
                bound = parse_bound(what, value, of_bytes=what == "size_bytes")
                object.__setattr__(self, what, bound)
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
