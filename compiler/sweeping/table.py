"""A sweep on the terminal."""

from __future__ import annotations

from compressc.reporting.quantities import (
    readable_bytes,
    readable_count,
    readable_ms,
    readable_ratio,
)
from compressc.reporting.terminal_table import Column, print_line, print_table
from compressc.sweeping.result import Sweep, SweepRow

_SKIPPED = "-"


def print_sweep(result: Sweep) -> None:
    """Print one row per target, what they mean, and why some were not met."""
    first = result.rows[0]
    headings = ("MACs", "left", "params", "file size", "p50", "speed-up", quality_name(result))
    columns = (
        Column("target", numeric=False),
        *map(Column, headings),
        Column("front"),
        Column("file", numeric=False),
    )
    print_table(columns, [_cells(row, first, result) for row in result.rows])
    print_line()
    if not result.metric_name:
        print_line(
            f"  drift: error of the outputs beside what they vary by, on {result.drift_source}"
        )
    for row in result.rows:
        if not row.is_met:
            print_line(f"  {row.target} was not met: {row.reason}")
    for note in result.bench.notes if result.bench is not None else ():
        print_line(f"  note: {note}")


def quality_name(result: Sweep) -> str:
    """Return what files are judged by."""
    return result.metric_name or "drift"


def quality_text(row: SweepRow, result: Sweep) -> str:
    """Return the metric, or the drift with the agreement behind it."""
    if result.metric_name:
        return _SKIPPED if row.metric is None else f"{row.metric:.2f}"
    if row.drift is None:
        return _SKIPPED
    agreement = "" if row.agreement is None else f" (top-1 {100 * row.agreement:.0f} %)"
    return f"{row.drift:.3f}{agreement}"


def speedup_text(row: SweepRow) -> str:
    """Return how much faster a file is, with the interval."""
    if row.speedup is None:
        return _SKIPPED
    if row.speedup_low is None or row.speedup_high is None or row.target == "original":
        return f"{row.speedup:.2f}x"
    return f"{row.speedup:.2f}x ({row.speedup_low:.2f} to {row.speedup_high:.2f})"


def _cells(row: SweepRow, first: SweepRow, result: Sweep) -> list[str]:
    if not row.is_met:
        return [row.target, *[_SKIPPED] * 8, "not met"]
    return [
        row.target,
        readable_count(row.macs),
        readable_ratio(row.macs, first.macs),
        readable_count(row.params),
        readable_bytes(row.file_bytes),
        _SKIPPED if row.latency_ms is None else readable_ms(row.latency_ms),
        speedup_text(row),
        quality_text(row, result),
        "yes" if row.on_front else "",
        row.file,
    ]
