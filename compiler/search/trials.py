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
        metric: the task's metric on the search-validation split, higher is better.
        cost: what it costs, zeros not counted: as papers count, by ``SPARSE`` of ``zero_price``.
        seconds: what the evaluation took.
        point: the values of the search space's coordinates from which the plan was made, so that
            it can be made again after this process has ended; empty where the plan came from no
            space.
    """

    digest: str
    metric: float
    cost: Cost
    seconds: float
    point: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        """Read what :meth:`to_dict` wrote.

        Raises:
            KeyError, TypeError: if something is missing or of another kind.
        """
        return cls(
            digest=str(values["digest"]),
            metric=float(values["metric"]),
            cost=Cost(**{name: int(amount) for name, amount in values["cost"].items()}),
            seconds=float(values["seconds"]),
            point=tuple(float(value) for value in values["point"]),
        )


def pareto_front(points: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the (amount, metric) points that no other point beats, cheapest first.

    One point beats another if it costs no more, is as good, and differs.
    """
    front: list[tuple[float, float]] = []
    for amount, metric in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or metric > front[-1][1]:
            front.append((amount, metric))
    return tuple(front)
