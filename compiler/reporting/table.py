"""The report on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from compressc.reporting.console import make_console
from compressc.reporting.quantities import readable_bytes
from compressc.reporting.report import Report
from compressc.reporting.summary import judge_speed, summarize


def print_report(report: Report, written: Sequence[Path] = ()) -> None:
    """Print the before/after table, the checks, the notes, and where files went."""
    console = make_console()
    table = Table(title=escape(report.model), title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("")
    for heading in ("before", "after", "ratio"):
        table.add_column(heading, justify="right")
    for row in summarize(report):
        table.add_row(row.name, row.before, row.after, row.ratio)
    console.print(table)
    console.print()
    speed = judge_speed(report)
    if speed is not None:
        console.print(f"  speed: {escape(speed.sentence)}", soft_wrap=True)
    if report.accuracy is not None:
        style = "red" if report.accuracy.is_at_chance else "none"
        console.print(f"  accuracy: [{style}]{escape(report.accuracy.text)}[/]", soft_wrap=True)
    for check in report.verdict.checks:
        mark = "[green]ok[/]" if check.passed else "[red]FAILED[/]"
        console.print(f"  {mark}  {escape(check.name)}: {escape(check.text)}", soft_wrap=True)
    for step in report.passes:
        for note in step.notes:
            console.print(f"  {step.name}: {escape(note)}", soft_wrap=True)
    for note in report.notes:
        console.print(f"  note: {escape(note)}", soft_wrap=True)
    for path in written:
        size = readable_bytes(path.stat().st_size)
        console.print(f"  wrote {escape(str(path))} ({size})", soft_wrap=True)
