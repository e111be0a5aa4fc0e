"""A sweep as one self-contained HTML page with its front as a picture."""

from __future__ import annotations

from dataclasses import dataclass

from compressc.reporting.picture_axes import Axis, Tick, trace
from compressc.reporting.quantities import (
    readable_bytes,
    readable_count,
    readable_ms,
    readable_ratio,
)
from compressc.reporting.templates import load_template
from compressc.sweeping.result import Sweep, SweepRow
from compressc.sweeping.table import quality_name, quality_text, speedup_text

_WIDTH, _HEIGHT = 960.0, 380.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 30.0, 24.0, 40.0
_TICKS = 6


@dataclass(frozen=True)
class Spot:
    """One file in the picture."""

    x: float
    y: float
    on_front: bool
    name: str
    title: str


@dataclass(frozen=True)
class Picture:
    """Axes, files and the front through the best of them."""

    across: str
    upward: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    spots: tuple[Spot, ...]
    front: str


def render_sweep(result: Sweep) -> str:
    """Return the page; it needs no other file and no network."""
    return load_template("sweep_page.html.j2").render(
        result=result,
        first=result.rows[0],
        picture=draw_front(result),
        quality_name=quality_name(result),
        quality=lambda row: quality_text(row, result),
        speedup=speedup_text,
        count=readable_count,
        size=readable_bytes,
        ratio=readable_ratio,
        ms=readable_ms,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        floor=_HEIGHT - _BOTTOM,
    )


def draw_front(result: Sweep) -> Picture | None:
    """Return files by latency (MACs, if nothing was timed) and quality; None for none to show."""
    rows = [row for row in result.rows if row.is_met and row.quality is not None]
    if not rows:
        return None
    timed = all(row.latency_ms is not None for row in rows)
    x = Axis(0.0, 1.05 * max(row.effort for row in rows), _LEFT, _WIDTH - _RIGHT)
    values = [_shown(row) for row in rows]
    room = 0.08 * (max(values) - min(values)) or 0.5
    bottom, top = _HEIGHT - _BOTTOM, _TOP
    low, high = min(values) - room, max(values) + room
    # Upward is better: little drift stands on top.
    y = Axis(low, high, bottom, top) if result.metric_name else Axis(high, low, bottom, top)
    text = readable_ms if timed else readable_count
    spots = tuple(
        Spot(
            x(row.effort),
            y(_shown(row)),
            row.on_front,
            row.target,
            f"{row.target}: {text(row.effort)}, {quality_name(result)} {quality_text(row, result)}",
        )
        for row in rows
    )
    front = [row for row in result.front if row.quality is not None]
    return Picture(
        "latency p50 in ONNX Runtime" if timed else "MACs",
        quality_name(result) + ("" if result.metric_name else " (less is better, on top)"),
        x.ticks(_TICKS, text),
        y.ticks(_TICKS, lambda value: f"{value:.4g}"),
        spots,
        trace(x, y, ((row.effort, _shown(row)) for row in front)),
    )


def _shown(row: SweepRow) -> float:
    assert row.quality is not None
    return row.quality if row.metric is not None else -row.quality
