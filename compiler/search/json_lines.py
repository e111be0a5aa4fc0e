"""Files of JSON lines that grow while a search runs, and survive its death."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressc.errors import OutputError


def begin_lines(path: Path, entry: Mapping[str, Any]) -> None:
    """Begin a file anew with one line; missing folders are made.

    Raises:
        OutputError: if the file cannot be written.
    """
    _write(path, entry, "w")


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Append one line; missing folders are made.

    Raises:
        OutputError: if the file cannot be written.
    """
    _write(path, entry, "a")


def _write(path: Path, entry: Mapping[str, Any], mode: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8") as stream:
            stream.write(encode_line(entry))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def encode_line(entry: Mapping[str, Any]) -> str:
    """Return an entry as a line; what JSON does not know is written as its text."""
    return json.dumps(entry, default=str) + "\n"


def read_lines(path: Path) -> list[Any]:
    """Return the entries of all whole lines; one that was cut short by a crash is passed over.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if a line is no JSON.
    """
    content = path.read_bytes()
    return [json.loads(line) for line in content[: _whole_bytes(content)].splitlines()]


def cut_torn_line(path: Path) -> None:
    """Remove a last line that was cut short, so that the next one begins on a line of its own.

    Raises:
        OSError: if the file cannot be read or written.
    """
    content = path.read_bytes()
    if _whole_bytes(content) < len(content):
        with path.open("r+b") as stream:
            stream.truncate(_whole_bytes(content))


def _whole_bytes(content: bytes) -> int:
    return content.rfind(b"\n") + 1
