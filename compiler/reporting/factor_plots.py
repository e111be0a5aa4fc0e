"""Pictures of factors, as the report draws them: a matrix, and levels over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressc.factor_picture import LEVEL_NAMES, LEVEL_STARTS, FactorPicture
from compressc.reporting.drawing import COLOUR, Picture, whole_ticks

_HEIGHT = 210.0
_SHADES = ((0, 0, 0), (147, 197, 253), (37, 99, 235), (251, 146, 60), (185, 28, 28))


@dataclass(frozen=True)
class Level:
    """A level of factors in the legend; ``colour`` is a CSS colour."""

    name: str
    colour: str


@dataclass(frozen=True)
class FactorPlot:
    """The two pictures of one layer.

    Attributes:
        title, columns: what is shown.
        matrix: at the end.
        levels: shares of the levels over epochs; empty without epochs.
    """

    title: str
    columns: int
    matrix: str
    levels: str


LEVELS = tuple(
    Level(name, "transparent" if not place else f"rgb({', '.join(map(str, _SHADES[place]))})")
    for place, name in enumerate(LEVEL_NAMES)
)


def draw_factors(picture: FactorPicture) -> FactorPlot:
    """Return how the factors of a layer are drawn."""
    what = f"{picture.rows} x {picture.columns} connections"
    if picture.columns == 1:
        what = f"{picture.rows} neurons"
    off = f", {picture.levels[-1][0]:.1%} of them off" if picture.levels else ""
    return FactorPlot(
        f"{picture.layer}: {what}{off}",
        picture.columns,
        _draw_matrix(picture),
        _draw_levels(picture) if picture.levels else "",
    )


def _draw_matrix(picture: FactorPicture) -> str:
    """Draw a cell for each block of factors: its level by colour, the paler the more zeros."""
    drawn = Picture(f"factors of {picture.layer}", "goes to", "input", height=_HEIGHT)
    drawn.axes.imshow(
        shade(picture.zeros, picture.means),
        aspect="auto",
        interpolation="none",
        extent=(0.5, picture.columns + 0.5, picture.rows + 0.5, 0.5),
    )
    drawn.axes.grid(visible=False)
    whole_ticks(drawn)
    return drawn.svg()


def shade(
    zeros: Sequence[Sequence[float]], means: Sequence[Sequence[float]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the colours of cells, red, green, blue and opacity from 0 to 1.

    Args:
        zeros: share of the factors of each cell that are 0.
        means: mean of the others.

    Shape:
        (rows, columns, 4).
    """
    levels = 1 + np.searchsorted(LEVEL_STARTS[1:], np.asarray(means), side="right")
    colours = np.asarray(_SHADES, float)[levels] / 255
    return np.concatenate([colours, 1.0 - np.asarray(zeros)[..., None]], axis=2)


def _draw_levels(picture: FactorPicture) -> str:
    """Draw a bar for each epoch, in the shares of the levels."""
    drawn = Picture(
        f"levels of the factors of {picture.layer}", "epoch", "share [%]", height=_HEIGHT
    )
    epochs, bottom = range(1, len(picture.levels) + 1), np.zeros(len(picture.levels))
    for place, name in enumerate(LEVEL_NAMES):
        shares = 100 * np.array([levels[place] for levels in picture.levels])
        colour = tuple(part / 255 for part in _SHADES[place]) if place else COLOUR["paper"]
        bars = drawn.axes.bar(
            epochs, shares, 1.0, bottom, color=colour, edgecolor=COLOUR["line"], linewidth=0.3
        )
        for bar, epoch, share in zip(bars, epochs, shares, strict=True):
            drawn.hint(bar, [f"epoch {epoch}: {share:.1f} % {name}"])
        bottom += shares
    drawn.axes.set_ylim(0, 100)
    whole_ticks(drawn)
    return drawn.svg()
