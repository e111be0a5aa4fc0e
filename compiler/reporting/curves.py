"""Curves over the same places, and fields of shares: pictures that several pages have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressc.reporting.drawing import COLOUR, Picture, never_negative, whole_ticks

# Name, one value for each place, the role of the colour, and the width of the line.
Series = tuple[str, Sequence[float], str, float]
# Shades of blue over whatever colour the page has.
_BLUE = (37 / 255, 99 / 255, 235 / 255)


def draw_curves(
    across: str,
    upward: str,
    places: Sequence[float],
    series: Sequence[Series],
    *,
    from_zero: bool = False,
) -> str:
    """Return curves.

    Args:
        across: what the places are.
        upward: what is plotted, with its unit.
        places: ascending whole numbers.
        series: the curves.
        from_zero: whether the axis begins at 0 where no value is negative.
    """
    picture = Picture(f"{upward} against {across}", across, upward)
    for name, values, role, width in series:
        # A curve of one point is a dot.
        marker = "o" if len(places) < 2 else ""
        picture.axes.plot(
            places, values, color=COLOUR[role], linewidth=width, label=name, marker=marker
        )
    whole_ticks(picture)
    lowest = min((min(values) for _, values, _, _ in series), default=0.0)
    if lowest >= 0:
        if from_zero:
            picture.axes.set_ylim(bottom=0.0)
        never_negative(picture)
    if len(series) > 1:
        picture.legend()
    return picture.svg()


def draw_field(
    title: str, across: str, upward: str, rows: Sequence[Sequence[float]], height: float = 210.0
) -> str:
    """Return a field of shares, 0 without colour and 1 in full blue; the first row on top.

    Args:
        title: what is shown.
        across: what columns are.
        upward: what rows are.
        rows: of equal length, each entry from 0 to 1.
        height: of the picture, in points.
    """
    picture = Picture(title, across, upward, height=height)
    shades = np.zeros((len(rows), len(rows[0]), 4))
    shades[..., :3], shades[..., 3] = _BLUE, np.clip(np.asarray(rows, float), 0.0, 1.0)
    count, width = len(rows), len(rows[0])
    picture.axes.imshow(
        shades, aspect="auto", interpolation="none", extent=(0.5, width + 0.5, count + 0.5, 0.5)
    )
    picture.axes.grid(visible=False)
    whole_ticks(picture)
    return picture.svg()
