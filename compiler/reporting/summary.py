"""The rows of the before/after table: the same on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compressc.reporting.quantities import (
    readable_bytes,
    readable_count,
    readable_ms,
    readable_ratio,
)
from compressc.reporting.report import Amounts, Report
from compressc.runtime.bench_result import BenchRow, bench_table


@dataclass(frozen=True)
class SummaryRow:
    """One quantity before and after, as text; ``share`` is after over before for bars."""

    name: str
    before: str
    after: str
    ratio: str
    share: float | None = None


def summarize(report: Report) -> list[SummaryRow]:
    """Return the rows that a report can fill."""
    before, after = report.before, report.after
    rows = [
        _row("MACs", before.macs, after.macs, readable_count),
        _row("FLOPs (2 x MACs)", before.flops, after.flops, readable_count),
        _row("params", before.params, after.params, readable_count),
        *_stored_rows(before, after),
        *_block_rows(report),
    ]
    timed = timings(report)
    if timed is not None:
        first, second = timed
        for name, old, new in (
            ("latency p50 (wall time)", first.latency_p50_ms, second.latency_p50_ms),
            ("latency p90 (wall time)", first.latency_p90_ms, second.latency_p90_ms),
            ("latency p99 (wall time)", first.latency_p99_ms, second.latency_p99_ms),
            ("CPU time of a call", first.cpu_ms, second.cpu_ms),
        ):
            if old:
                rows.append(_row(name, old, new, readable_ms))
        if first.peak_rss_bytes and second.peak_rss_bytes:
            rows.append(
                _row("peak memory", first.peak_rss_bytes, second.peak_rss_bytes, readable_bytes)
            )
    if report.metric is not None:
        metric = report.metric
        rows.append(
            SummaryRow(
                f"{metric.name} on {report.data}" if report.data else metric.name,
                f"{metric.before:.2f}",
                f"{metric.after:.2f}",
                f"{metric.after - metric.before:+.2f}",
            )
        )
    return [*rows, *_float_rows(report)]


def _block_rows(report: Report) -> list[SummaryRow]:
    """Return how many residual blocks are left, where some were left out."""
    if not report.blocks:
        return []
    left = sum(not block.left_out for block in report.blocks)
    return [_row("residual blocks", len(report.blocks), left, lambda count: f"{count:g}")]


def _stored_rows(before: Amounts, after: Amounts) -> list[SummaryRow]:
    """Return how many weights are stored, how many of them are zeros, and in how much space."""
    rows = []
    if before.file_params and after.file_params:
        rows.append(
            _row("params in the ONNX file", before.file_params, after.file_params, readable_count)
        )
    if after.zeros > before.zeros:
        old, new = (f"{100 * x.zeros / max(x.params, 1):.1f} %" for x in (before, after))
        rows.append(SummaryRow("zeros among the params", old, new, "-"))
    if before.file_bytes and after.file_bytes:
        rows.append(_row("ONNX file", before.file_bytes, after.file_bytes, readable_bytes))
    elif after.file_bytes:
        name = "weights, then the ONNX file"
        rows.append(_row(name, before.size_bytes, after.file_bytes, readable_bytes))
    else:
        rows.append(_row("weights", before.size_bytes, after.size_bytes, readable_bytes))
    return rows


def _float_rows(report: Report) -> list[SummaryRow]:
    """Return what the pruned network is before it became int8."""
    if report.int8 is None or report.before.file_bytes is None:
        return []
    before, after = report.before.file_bytes, report.int8.float_file_bytes
    rows = [_row("float32: ONNX file", before, after, readable_bytes)]
    timed = bench_table(report.bench) if report.bench is not None else []
    if len(timed) > 2:
        old, new = timed[0].latency_p50_ms, timed[2].latency_p50_ms
        rows.append(_row("float32: latency p50 (wall time)", old, new, readable_ms))
    if report.metric is not None and report.int8.float_metric is not None:
        name, full, left = report.metric.name, report.metric.before, report.int8.float_metric
        change = f"{left - full:+.2f}"
        rows.append(SummaryRow(f"float32: {name}", f"{full:.2f}", f"{left:.2f}", change))
    return rows


def timings(report: Report) -> tuple[BenchRow, BenchRow] | None:
    """Return the timing of the original and of the compressed file, if they were timed."""
    if report.bench is None:
        return None
    first, second, *_ = bench_table(report.bench)
    return first, second


@dataclass(frozen=True)
class Speed:
    """How much faster the compressed file is.

    Attributes:
        factor: the original's time over the compressed file's. By CPU time where the machine was
            busy: then wall time says more about its neighbours than about the files.
        is_faster: whether it is faster by more than noise.
        title: what the factor is.
        sentence: the frank verdict, and how it was measured.
    """

    factor: float
    is_faster: bool
    title: str
    sentence: str


def judge_speed(report: Report) -> Speed | None:
    """Return the speed of the compressed file, or None if it was not measured."""
    timed = timings(report)
    if timed is None or report.bench is None:
        return None
    first, row = timed
    busy = not report.bench.quietness.is_quiet and row.cpu_ms > 0
    factor = first.cpu_ms / row.cpu_ms if busy else row.speedup
    if not row.is_distinct:
        said = f"no measurable difference in speed: {factor:.2f}x"
    elif factor > 1:
        said = f"{factor:.2f}x faster"
    else:
        said = f"SLOWER than the original: {factor:.2f}x its speed"
    spread = f"{row.speedup_low:.2f}x to {row.speedup_high:.2f}x"
    if busy:
        said += f" by CPU time; by wall time {row.speedup:.2f}x ({spread}), on a busy machine"
    else:
        said += f" ({spread})"
    measured = report.bench.measurements[0]
    threads = f"{measured.threads} thread{'s' if measured.threads != 1 else ''}"
    return Speed(
        factor=factor,
        is_faster=row.is_distinct and factor > 1,
        title="Speed by CPU time" if busy else "Speed in ONNX Runtime",
        sentence=f"{said}; ONNX Runtime, {threads}, batch {measured.batch}, "
        f"{report.bench.rounds} interleaved rounds",
    )


def _row(name: str, before: float, after: float, text: Callable[[float], str]) -> SummaryRow:
    share = after / before if before else None
    return SummaryRow(name, text(before), text(after), readable_ratio(after, before), share)
