"""Writing output files: all of a file or nothing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from compressc.errors import OutputError


def check_writable(path: str | Path) -> None:
    """Raise early if ``path`` can never be written.

    Raises:
        OutputError: if the folder is missing or not writable, or ``path`` is no ordinary file.
    """
    path = Path(path)
    folder = path.absolute().parent
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is a device or pipe, which a move would replace; name a file")
    if not folder.is_dir():
        raise OutputError(f"{path}: the folder {folder} does not exist; create it first")
    try:
        # Permissions alone say nothing about full or read-only file systems, or to root.
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"compressc")
            stream.flush()
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written in {folder} ({error.strerror}); choose another folder"
        ) from error


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a temporary file in the same folder, then move it to ``path``.

    An error, a full disk or Ctrl-C leaves whatever was at ``path`` untouched and removes the
    temporary file.

    Raises:
        OutputError: if the file cannot be written.
    """
    path = Path(path)
    check_writable(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose "
            "another place"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8: all of it or nothing.

    Raises:
        OutputError: if the file cannot be written.
    """
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
