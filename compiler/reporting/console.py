"""The console that tables are printed on."""

from __future__ import annotations

from rich.console import Console

PIPE_WIDTH = 140


def make_console() -> Console:
    """Return a console for stdout; a pipe or a file gets a fixed width."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    return console
