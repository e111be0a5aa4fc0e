"""Results as JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from compressc.writing import write_atomically


class Result(Protocol):
    """What the runtime measured or compared."""

    def to_json(self) -> str:
        """Return it as a JSON document."""


def write_json(path: str | Path, result: Result) -> None:
    """Write a result as a text file: all of it or nothing.

    Raises:
        OutputError: if the file cannot be written.
    """
    text = result.to_json() + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
