"""A sweep as one self-contained HTML page with its front as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from compressc.reporting.drawing import COLOUR, Picture
from compressc.reporting.quantities import (
    readable_bytes,
    readable_count,
    readable_ms,
    readable_ratio,
)
from compressc.reporting.templates import load_template
from compressc.sweeping.result import Sweep, SweepRow
from compressc.sweeping.table import quality_name, quality_text, speedup_text


def render_sweep(result: Sweep) -> str:
    """Return the page; it needs no other file and no network."""
    return load_template("sweep_page.html.j2").render(
        result=result,
        first=result.rows[0],
        front=draw_front(result),
        across=_across(result),
        quality_name=quality_name(result),
        quality=lambda row: quality_text(row, result),
        speedup=speedup_text,
        count=readable_count,
        size=readable_bytes,
        ratio=readable_ratio,
        ms=readable_ms,
    )


def draw_front(result: Sweep) -> str | None:
    """Return files by latency (MACs, if nothing was timed) and quality; None for none to show."""
    rows = _shown(result)
    if not rows:
        return None
    timed = _is_timed(rows)
    upward = quality_name(result) + ("" if result.metric_name else " (less is better, on top)")
    picture = Picture(f"{upward} against {_across(result)}", _across(result), upward, height=280)
    axes = picture.axes
    front = [row for row in result.front if row.quality is not None]
    axes.plot(
        [row.effort for row in front], list(map(_value, front)), color=COLOUR["width"], alpha=0.5
    )
    for on_front, role, label in (
        (True, "width", "on the front"),
        (False, "before", "another file is as fast and as good"),
    ):
        chosen = [row for row in rows if row.on_front == on_front]
        if chosen:
            dots = axes.scatter(
                [row.effort for row in chosen],
                list(map(_value, chosen)),
                s=42,
                color=COLOUR[role],
                label=label,
                zorder=3,
            )
            picture.hint(dots, [_hint(row, result, timed=timed) for row in chosen])
    for row in rows:
        axes.annotate(
            row.target,
            (row.effort, _value(row)),
            xytext=(0, 7),
            textcoords="offset points",
            horizontalalignment="center",
            color=COLOUR["ink"],
            fontweight="bold",
        )
    _frame(picture, rows, downward=not result.metric_name, timed=timed)
    picture.legend()
    return picture.svg()


def _frame(picture: Picture, rows: Sequence[SweepRow], *, downward: bool, timed: bool) -> None:
    """Leave room for names above dots; little drift stands on top, and none is negative."""
    from matplotlib.ticker import EngFormatter

    axes, values = picture.axes, list(map(_value, rows))
    room = 0.15 * (max(values) - min(values)) or 0.5
    low, high = min(values) - room, max(values) + room
    axes.set_xlim(0, 1.08 * max(row.effort for row in rows))
    if downward:
        # The room for names is above the least drift, which is near 0: no ticks stand in it.
        axes.set_ylim(high, low)
        axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high and tick >= 0])
    else:
        axes.set_ylim(low, high)
    if not timed:
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))


def _across(result: Sweep) -> str:
    return "latency p50 in ONNX Runtime [ms]" if _is_timed(_shown(result)) else "MACs"


def _shown(result: Sweep) -> list[SweepRow]:
    return [row for row in result.rows if row.is_met and row.quality is not None]


def _is_timed(rows: Sequence[SweepRow]) -> bool:
    return all(row.latency_ms is not None for row in rows)


def _hint(row: SweepRow, result: Sweep, *, timed: bool) -> str:
    effort = readable_ms(row.effort) if timed else readable_count(row.effort)
    return f"{row.target}: {effort}, {quality_name(result)} {quality_text(row, result)}"


def _value(row: SweepRow) -> float:
    assert row.quality is not None
    return row.quality if row.metric is not None else -row.quality
