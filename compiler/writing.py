"""Writing output files: all of a file or nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
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


# Files that wait to be moved, with their places; None where each is moved at once.
_WAITING: ContextVar[list[tuple[Path, Path]] | None] = ContextVar("waiting", default=None)


@contextlib.contextmanager
def written_together() -> Iterator[None]:
    """Let all files that are written inside appear at the end, together, or none of them.

    Inside another such context they wait for its end.

    Raises:
        OutputError: if one of them cannot be moved to its place; the others are put back.
    """
    if _WAITING.get() is not None:
        yield
        return
    waiting: list[tuple[Path, Path]] = []
    token = _WAITING.set(waiting)
    try:
        yield
        with contextlib.ExitStack() as undo:
            kept = []
            for temporary, path in waiting:
                old = _keep_aside(path)
                undo.callback(_put_back, path, old)
                kept.append(old)
                _move(temporary, path)
            undo.pop_all()
        for old in kept:
            _remove_quietly(old)
    finally:
        _WAITING.reset(token)
        for temporary, _ in waiting:
            _remove_quietly(temporary)


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a temporary file in the same folder, then move it to ``path``.

    An error, a full disk or Ctrl-C leaves whatever was at ``path`` untouched and removes the
    temporary file. Inside :func:`written_together` the move waits for the other files.

    Raises:
        OutputError: if the file cannot be written.
    """
    path, waiting = Path(path), _WAITING.get()
    temporary = _write_aside(path, write)
    if waiting is not None:
        waiting.append((temporary, path))
        return
    try:
        _move(temporary, path)
    finally:
        _remove_quietly(temporary)


def _write_aside(path: Path, write: Callable[[Path], object]) -> Path:
    """Return a whole and synchronised file beside ``path``."""
    check_writable(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
        os.close(handle)
    except OSError as error:
        raise _refused(path, error) from error
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
    except BaseException as error:
        _remove_quietly(temporary)
        if isinstance(error, OSError):
            raise _refused(path, error) from error
        raise
    return temporary


def _move(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        raise _refused(path, error) from error


def _keep_aside(path: Path) -> Path | None:
    """Return another name of what is at a path; None where nothing is."""
    if not path.exists():
        return None
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        old.unlink(missing_ok=True)
        try:
            os.link(path, old)
        except OSError:  # a file system without links
            shutil.copy2(path, old)
    except OSError as error:
        _remove_quietly(old)
        raise _refused(path, error) from error
    return old


def _put_back(path: Path, old: Path | None) -> None:
    with contextlib.suppress(OSError):
        if old is None:
            path.unlink(missing_ok=True)
        else:
            old.replace(path)
    # A name of the same file is not moved onto it.
    _remove_quietly(old)


def _remove_quietly(path: Path | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: cannot be written ({error.strerror or error}); free some space or choose "
        "another place"
    )


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8: all of it or nothing.

    Raises:
        OutputError: if the file cannot be written.
    """
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
