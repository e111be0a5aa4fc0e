"""Tables and lines on the terminal: through rich where it is installed, else as plain text.

``compressc bench``, ``profile`` and ``verify`` run on devices that have nothing but numpy, onnx and
onnxruntime.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from compressc.runtime.plain_text import printable

# A folded column of a few letters cannot be read.
_LEAST_TEXT = 12


@dataclass(frozen=True)
class Column:
    """One column: its heading, and whether numbers stand in it (text may be folded)."""

    heading: str
    numeric: bool = True


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under headings; numbers are aligned to the right."""
    rows = [[printable(entry) for entry in row] for row in rows]
    try:
        from rich.markup import escape
        from rich.table import Table

        from compressc.reporting.console import make_console
    except ImportError:
        sys.stdout.write(plain_table(columns, rows))
        return
    table = Table(show_edge=False, pad_edge=False)
    for column in columns:
        if column.numeric:
            table.add_column(escape(column.heading), justify="right", no_wrap=True)
        else:
            table.add_column(escape(column.heading), overflow="fold", min_width=_LEAST_TEXT)
    for row in rows:
        table.add_row(*map(escape, row))
    make_console().print(table)


def print_line(text: str = "") -> None:
    """Print one line, however long."""
    sys.stdout.write(f"{printable(text)}\n")


def plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Return the table as text, every column as wide as its widest entry."""
    lines = [[column.heading for column in columns], *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    text = [_line(columns, line, widths) for line in lines]
    text.insert(1, "-+-".join("-" * width for width in widths))
    return "\n".join(text) + "\n"


def _line(columns: Sequence[Column], line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        entry.rjust(width) if column.numeric else entry.ljust(width)
        for column, entry, width in zip(columns, line, widths, strict=True)
    ]
    return " | ".join(cells).rstrip()
