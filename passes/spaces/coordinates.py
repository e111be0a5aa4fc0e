"""Coordinates: the hyper-parameters of a search, and the points that they span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["ps", "pn", "svd", "tucker"]
Side = Literal["", "out", "in"]
METHODS: tuple[Method, ...] = ("ps", "pn", "svd", "tucker")
# Rank steps of a matrix, and of each side of a kernel.
SVD_STEPS = 64
TUCKER_STEPS = 8


@dataclass(frozen=True)
class Point:
    """One value per coordinate of a space, in the order of its coordinates."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Coordinate:
    """One hyper-parameter.

    Attributes:
        place: the group (ps), weight (pn) or layer (svd, tucker) that it compresses.
        method: "ps" removes channels, "pn" sets single weights to zero, "svd" and "tucker" choose
            the rank of a factorised layer.
        steps: 0 for a continuous share from 0 (all stays) to 1; else rank steps from 1 to this,
            where the last one is the full rank.
        side: of a Tucker-2 decomposition: "out" or "in"; else "".
    """

    place: str
    method: Method
    steps: int = 0
    side: Side = ""

    @property
    def name(self) -> str:
        """What reports call it."""
        return " ".join(part for part in (self.method, self.place, self.side) if part)

    @property
    def whole(self) -> float:
        """The value that compresses nothing."""
        return float(self.steps) if self.steps else 0.0

    @property
    def least(self) -> float:
        """The value that compresses most."""
        return 1.0
