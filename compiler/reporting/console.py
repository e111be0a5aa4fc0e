"""The console that tables are printed on."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from compressc.runtime.plain_text import printable

PIPE_WIDTH = 140


class PlainConsole(Console):
    """A console on which no text, alone or in a table, can steer the terminal."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a text ready for printing."""
        return super().render_str(printable(text), **settings)


def make_console() -> Console:
    """Return a console for stdout; a pipe or a file gets a fixed width."""
    console = PlainConsole(highlight=False)
    if not console.is_terminal:
        console = PlainConsole(highlight=False, width=PIPE_WIDTH)
    return console
