"""A benchmark on the terminal."""

from __future__ import annotations

from compressc.reporting.quantities import readable_bytes, readable_count, readable_ms
from compressc.reporting.terminal_table import Column, print_line, print_table
from compressc.runtime.bench_result import BenchResult, BenchRow, bench_table

_COLUMNS = (
    Column("file", numeric=False),
    *map(Column, ("p50", "p90", "p99", "items/s", "speed-up", "MACs", "params", "file size")),
    Column("peak memory"),
)


def print_bench(result: BenchResult) -> None:
    """Print one row per file, then the machine and what to keep in mind."""
    rows = bench_table(result)
    print_table(_COLUMNS, [_cells(row, reference=not i) for i, row in enumerate(rows)])
    machine, first = result.machine, result.measurements[0]
    print_line()
    print_line(
        f"  {machine.cpu_model}, {machine.logical_cores} cores; onnxruntime "
        f"{machine.onnxruntime}, threads {first.threads}, batch {first.batch}; p50, p90 and p99 by "
        "wall time; "
        f"{result.rounds} interleaved rounds over {first.sessions} sessions of each file in "
        f"{result.seconds:.0f} s{_on_cores(result)}"
    )
    for row in rows[1:]:
        if not row.is_distinct:
            print_line(f"  {row.path}: no measurable difference from the first")
    for note in result.notes:
        print_line(f"  note: {note}")


def _cells(row: BenchRow, *, reference: bool) -> list[str]:
    return [
        row.path,
        _median(row),
        readable_ms(row.latency_p90_ms),
        readable_ms(row.latency_p99_ms),
        f"{row.throughput:.4g}",
        "1 (reference)" if reference else _speedup(row),
        "?" if row.macs is None else readable_count(row.macs),
        "?" if row.params is None else readable_count(row.params),
        readable_bytes(row.size_bytes),
        "?" if row.peak_rss_bytes is None else readable_bytes(row.peak_rss_bytes),
    ]


def _median(row: BenchRow) -> str:
    low, high = row.latency_p50_low_ms, row.latency_p50_high_ms
    if low == high:
        return readable_ms(row.latency_p50_ms)
    return f"{readable_ms(row.latency_p50_ms)} ±{(high - low) / 2 / row.latency_p50_ms:.1%}"


def _on_cores(result: BenchResult) -> str:
    if result.cores is None:
        return ", not pinned"
    return f", pinned to core{'s' if len(result.cores) > 1 else ''} " + ", ".join(
        map(str, result.cores)
    )


def _speedup(row: BenchRow) -> str:
    return f"{row.speedup:.2f}x ({row.speedup_low:.2f} to {row.speedup_high:.2f})"
