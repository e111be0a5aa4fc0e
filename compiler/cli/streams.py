"""Standard streams as commands find them: closed, full, or of few characters."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

_STANDARD = (0, 1, 2)


def prepare_streams() -> None:
    """Make stdout and stderr fit to be written to, whatever they are.

    A stream that was closed before the start swallows what is written; its number stays taken, so
    that no output file gets it and what libraries write there. Characters that an encoding lacks
    are written as escapes.
    """
    number = os.open(os.devnull, os.O_RDWR)
    while number in _STANDARD:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good
            setattr(sys, name, nowhere)
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def abandon_stdout() -> None:
    """Keep the interpreter's last flush quiet where stdout takes no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
