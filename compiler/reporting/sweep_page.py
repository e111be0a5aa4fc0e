"""A sweep as one self-contained HTML page with its front as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressc.reporting.quantities import (
    readable_bytes,
    readable_count,
    readable_ms,
    readable_ratio,
)
from compressc.reporting.sweep_table import quality_name, quality_text, speedup_text
from compressc.reporting.templates import load_template
from compressc.sweeping.result import Sweep, SweepRow

_WIDTH, _HEIGHT = 960.0, 380.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 30.0, 24.0, 40.0
_TICKS = 6


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in the picture's coordinates."""

    at: float
    text: str


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


def render_sweep(found: Sweep) -> str:
    """Return the page; it needs no other file and no network."""
    return load_template("sweep_page.html.j2").render(
        found=found,
        first=found.rows[0],
        picture=draw_front(found),
        quality_name=quality_name(found),
        quality=lambda row: quality_text(row, found),
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


def draw_front(found: Sweep) -> Picture | None:
    """Return files by latency (MACs, if nothing was timed) and quality; None for none to show."""
    rows = [row for row in found.rows if row.is_met and row.quality is not None]
    if not rows:
        return None
    timed = all(row.latency_ms is not None for row in rows)
    x = _Scale(0.0, 1.05 * max(row.effort for row in rows), _LEFT, _WIDTH - _RIGHT)
    values = [_shown(row) for row in rows]
    room = 0.08 * (max(values) - min(values)) or 0.5
    bottom, top = _HEIGHT - _BOTTOM, _TOP
    low, high = min(values) - room, max(values) + room
    # Upward is better: little drift stands on top.
    y = _Scale(low, high, bottom, top) if found.metric_name else _Scale(high, low, bottom, top)
    text = readable_ms if timed else readable_count
    spots = tuple(
        Spot(
            x(row.effort),
            y(_shown(row)),
            row.on_front,
            row.target,
            f"{row.target}: {text(row.effort)}, {quality_name(found)} {quality_text(row, found)}",
        )
        for row in rows
    )
    front = [row for row in found.front if row.quality is not None]
    return Picture(
        "latency p50 in ONNX Runtime" if timed else "MACs",
        quality_name(found) + ("" if found.metric_name else " (less is better, on top)"),
        x.ticks(text),
        y.ticks(lambda value: f"{value:.4g}"),
        spots,
        _points(x, y, front),
    )


@dataclass(frozen=True)
class _Scale:
    """Maps values to places in a drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        return self.start + (value - self.low) / span * (self.end - self.start)

    def ticks(self, text: object) -> tuple[Tick, ...]:
        assert callable(text)
        values = [self.low + (self.high - self.low) * part / (_TICKS - 1) for part in range(_TICKS)]
        return tuple(Tick(self(value), str(text(value))) for value in values)


def _shown(row: SweepRow) -> float:
    assert row.quality is not None
    return row.quality if row.metric is not None else -row.quality


def _points(x: _Scale, y: _Scale, rows: Sequence[SweepRow]) -> str:
    return " ".join(f"{x(row.effort):.1f},{y(_shown(row)):.1f}" for row in rows)
