"""A benchmark on the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from compressc.reporting.console import make_console
from compressc.reporting.quantities import readable_bytes, readable_count, readable_ms
from compressc.runtime.bench_result import BenchResult, BenchRow, bench_table


def print_bench(result: BenchResult) -> None:
    """Print one row per file, then the machine and what to keep in mind."""
    console = make_console()
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("file", overflow="fold")
    for heading in ("p50", "p90", "p99", "items/s", "speed-up", "MACs", "params", "file size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("peak memory", justify="right", no_wrap=True)
    rows = bench_table(result)
    for index, row in enumerate(rows):
        table.add_row(
            escape(row.path),
            readable_ms(row.latency_p50_ms),
            readable_ms(row.latency_p90_ms),
            readable_ms(row.latency_p99_ms),
            f"{row.throughput:.4g}",
            "1 (reference)" if index == 0 else _speedup(row),
            "?" if row.macs is None else readable_count(row.macs),
            "?" if row.params is None else readable_count(row.params),
            readable_bytes(row.size_bytes),
            "?" if row.peak_rss_bytes is None else readable_bytes(row.peak_rss_bytes),
        )
    console.print(table)
    machine, first = result.machine, result.measurements[0]
    console.print()
    console.print(
        f"  {escape(machine.cpu_model)}, {machine.logical_cores} cores; onnxruntime "
        f"{machine.onnxruntime}, threads {first.threads}, batch {first.batch}; "
        f"{result.rounds} interleaved rounds in {result.seconds:.0f} s",
        soft_wrap=True,
    )
    for row in rows[1:]:
        if not row.is_distinct:
            console.print(
                f"  {escape(row.path)}: no measurable difference from the first", soft_wrap=True
            )
    for note in result.notes:
        console.print(f"  note: {escape(note)}", soft_wrap=True)


def _speedup(row: BenchRow) -> str:
    return f"{row.speedup:.2f}x ({row.speedup_low:.2f} to {row.speedup_high:.2f})"
