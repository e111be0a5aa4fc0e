"""A picture of factors: what each connection or neuron of a layer is multiplied with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

# The levels that factors are counted in: the first is 0 alone, the others begin at these values.
LEVEL_STARTS = (0.0, 0.5, 1.0, 2.0)
LEVEL_NAMES = ("0", "below 0.5", "0.5 to 1", "1 to 2", "2 and above")

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class FactorPicture:
    """The factors of one layer as a matrix, one row for each input, in a number of cells to draw.

    Attributes:
        layer: its name.
        rows, columns: of the matrix itself; one column where factors are per input.
        zeros: per cell, the share of its factors that are 0.
        means: per cell, the mean of its other factors; 0 where there are none.
        levels: after each epoch, the share of factors in each of ``LEVEL_NAMES``.
    """

    layer: str
    rows: int
    columns: int
    zeros: Rows
    means: Rows
    levels: Rows

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the picture whose fields a document holds, as JSON gives it back.

        Raises:
            ValueError, KeyError, TypeError: if it is something else.
        """
        zeros, means, levels = (
            tuple(tuple(map(float, row)) for row in document[name])
            for name in ("zeros", "means", "levels")
        )
        rows, columns = int(document["rows"]), int(document["columns"])
        return cls(str(document["layer"]), rows, columns, zeros, means, levels)
