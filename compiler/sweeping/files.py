"""Files of a sweep: its folder, what is in it from earlier runs, and how it gets there."""

from __future__ import annotations

import hashlib
from pathlib import Path

from compressc.errors import OutputError
from compressc.runtime.bench_result import BenchResult
from compressc.sweeping.result import Sweep, SweepRow, read_rows
from compressc.writing import write_text

PASS_STATE, PAGE, ORIGINAL = "state", "sweep.html", "original.onnx"
_STATE = "sweep.json"


def is_done(row: SweepRow, folder: Path) -> bool:
    """Return whether an earlier run finished a target; one that was not met is tried again."""
    path = folder / row.file
    return row.is_met and path.is_file() and digest_file(path) == row.sha256


def read_state(folder: Path) -> tuple[dict[str, SweepRow], BenchResult | None]:
    """Return the rows of earlier runs by their keys, and the last timing of all files."""
    try:
        return read_rows((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}, None


def make_folder(folder: Path) -> Path:
    """Make the folder if it is not there.

    Raises:
        OutputError: if that cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose -o") from error
    return folder


def write_state(sweep: Sweep, folder: Path) -> None:
    """Write what is known of a sweep."""
    write_text(folder / _STATE, sweep.to_json())


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
