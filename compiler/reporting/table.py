"""The report on the terminal."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compressc.reporting.console import PIPE_WIDTH, PlainConsole, make_console
from compressc.reporting.quantities import readable_bytes
from compressc.reporting.report import Report
from compressc.reporting.summary import judge_speed, summarize


def print_report(report: Report, written: Sequence[Path] = ()) -> None:
    """Print the before/after table, the checks, the notes, and where files went."""
    _print_on(make_console(), report, written)


def report_text(report: Report) -> str:
    """Return what :func:`print_report` prints, without colours."""
    stream = io.StringIO()
    _print_on(PlainConsole(file=stream, width=PIPE_WIDTH, highlight=False), report, ())
    return stream.getvalue().rstrip("\n")


def report_html(report: Report) -> str:
    """Return the before/after table for a notebook, the speed and the accuracy below it."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(row.name)}</th>"
        f"<td>{html.escape(row.before)}</td><td>{html.escape(row.after)}</td>"
        f"<td>{html.escape(row.ratio)}</td></tr>"
        for row in summarize(report)
    )
    speed = judge_speed(report)
    remarks = [speed.sentence] if speed is not None else []
    remarks += [report.accuracy.text] if report.accuracy is not None else []
    below = "".join(f"<p>{html.escape(text)}</p>" for text in remarks)
    head = "<tr><th></th><th>before</th><th>after</th><th>ratio</th></tr>"
    return f"<b>{html.escape(report.model)}</b><table>{head}{rows}</table>{below}"


def _print_on(console: Console, report: Report, written: Sequence[Path]) -> None:
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
