"""Trials: evaluated candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from compressc.costs import Cost


@dataclass(frozen=True)
class Trial:
    """One evaluated candidate.

    Attributes:
        digest: of its plan.
        metric: the task's metric on held-out data, higher is better.
        cost: what it costs, zeros not counted (see ``plan_costs``).
        seconds: what the evaluation took.
    """

    digest: str
    metric: float
    cost: Cost
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        """Read what :meth:`to_dict` wrote.

        Raises:
            KeyError, TypeError: if something is missing or of another kind.
        """
        cost = Cost(**{name: int(amount) for name, amount in values["cost"].items()})
        return cls(str(values["digest"]), float(values["metric"]), cost, float(values["seconds"]))


def pareto_front(points: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the (amount, metric) points that no other point beats, cheapest first.

    One point beats another if it costs no more, is as good, and differs.
    """
    front: list[tuple[float, float]] = []
    for amount, metric in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or metric > front[-1][1]:
            front.append((amount, metric))
    return tuple(front)
