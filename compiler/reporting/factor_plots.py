"""Pictures of factors, as the report draws them: a matrix, and levels over epochs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compressc.factor_picture import LEVEL_NAMES, LEVEL_STARTS, FactorPicture

_WIDTH, _HEIGHT = 460.0, 230.0
_COLOURS = ("#ffffff", "#bfdbfe", "#2563eb", "#fb923c", "#b91c1c")
# What is paler than this cannot be seen.
_PALEST = 0.02


@dataclass(frozen=True)
class Level:
    """A level of factors in the legend."""

    name: str
    colour: str


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture, in its coordinates, with what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    opacity: float = 1.0
    title: str = ""


@dataclass(frozen=True)
class FactorPlot:
    """The two pictures of one layer.

    Attributes:
        layer, title, columns: what is shown.
        width, height: of each picture.
        cells: of the matrix at the end.
        bars: of the levels over epochs.
    """

    layer: str
    title: str
    columns: int
    width: float
    height: float
    cells: tuple[Box, ...]
    bars: tuple[Box, ...]


LEVELS = tuple(Level(name, colour) for name, colour in zip(LEVEL_NAMES, _COLOURS, strict=True))


def draw_factors(picture: FactorPicture) -> FactorPlot:
    """Return how the factors of a layer are drawn."""
    what = f"{picture.rows} x {picture.columns} connections"
    if picture.columns == 1:
        what = f"{picture.rows} neurons"
    off = f", {picture.levels[-1][0]:.1%} of them off" if picture.levels else ""
    return FactorPlot(
        picture.layer,
        f"{picture.layer}: {what}{off}",
        picture.columns,
        _WIDTH,
        _HEIGHT,
        tuple(_cells(picture)),
        tuple(_bars(picture)),
    )


def _cells(picture: FactorPicture) -> Iterator[Box]:
    height = _HEIGHT / len(picture.zeros)
    for row, (zeros, means) in enumerate(zip(picture.zeros, picture.means, strict=True)):
        width = _WIDTH / len(zeros)
        for column, (zero, mean) in enumerate(zip(zeros, means, strict=True)):
            if 1 - zero > _PALEST:
                level = 1 + sum(mean >= start for start in LEVEL_STARTS[1:])
                yield _box(
                    column * width, row * height, width, height, _COLOURS[level], round(1 - zero, 2)
                )


def _bars(picture: FactorPicture) -> Iterator[Box]:
    width = _WIDTH / max(1, len(picture.levels))
    for epoch, shares in enumerate(picture.levels):
        top = 0.0
        for name, colour, share in zip(LEVEL_NAMES, _COLOURS, shares, strict=True):
            title = f"epoch {epoch + 1}: {share:.1%} {name}"
            if share:
                yield _box(epoch * width, top, width, share * _HEIGHT, colour, title=title)
            top += share * _HEIGHT


def _box(
    x: float,
    y: float,
    width: float,
    height: float,
    colour: str,
    opacity: float = 1.0,
    title: str = "",
) -> Box:
    return Box(round(x, 1), round(y, 1), round(width, 1), round(height, 1), colour, opacity, title)
