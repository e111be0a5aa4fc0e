"""Exclusive work: two processes that would write the same output do not mix it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from compressc.errors import OutputError


@contextlib.contextmanager
def exclusive(folder: Path, output: Path) -> Iterator[None]:
    """Hold a folder of state for one run; it is made if needed, and removed if nothing is in it.

    The hold ends with the process, however it ends. Where the system knows no locks on folders,
    nothing is held.

    Args:
        folder: with the state of the run.
        output: what the run writes, for the message.

    Raises:
        OutputError: if another process holds the folder, or it cannot be made.
    """
    if os.name != "posix":
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(
            f"{folder}: state of this run cannot be kept ({error.strerror}); choose another "
            "--work-dir"
        ) from error
    try:
        _hold(handle, folder, output)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()
    finally:
        os.close(handle)


def _hold(handle: int, folder: Path, output: Path) -> None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"{output}: another compressc is writing it (it holds {folder}); wait for it, or "
            "choose another output"
        ) from error
    except OSError:
        return  # a file system without locks
