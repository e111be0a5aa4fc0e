"""Fault injection, after SQLite's example: the n-th thing that a run asks of the system fails."""

from __future__ import annotations

import errno
import io
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.sandbox import Work

FULL = OSError(errno.ENOSPC, "No space left on device")


class Faults:
    """Counts what a process asks of a folder, and lets the n-th request fail.

    Requests are opening for writing, writing, fsync, renaming and making folders. Reading never
    fails, and nor does what lies outside of the folder.

    Args:
        folder: whose files count.
        failing: number of the request that fails, from 1; 0 for none.
    """

    def __init__(self, folder: Path, failing: int) -> None:
        self._folder, self._failing = str(folder.resolve()), failing
        self.count = 0

    def request(self) -> None:
        """Count a request; raise if it is its turn."""
        self.count += 1
        if self.count == self._failing:
            raise OSError(FULL.errno, FULL.strerror)

    def concerns(self, path: object) -> bool:
        """Return whether a path is in the folder; relative ones are."""
        try:
            text = os.fsdecode(path)  # type: ignore[arg-type]
        except TypeError:
            return False
        if Path(text).name in (".out", ".err"):
            return False
        return not Path(text).is_absolute() or text.startswith(self._folder)


@contextmanager
def injected(faults: Faults) -> Iterator[None]:
    """Let requests pass through the counter, until the context ends."""
    originals = {name: getattr(os, name) for name in ("replace", "fsync", "mkdir", "rename")}
    opened = io.open

    def open_counted(file, mode="r", *rest, **named):  # type: ignore[no-untyped-def]
        writes = set(mode) & set("wax+")
        if writes and faults.concerns(file):
            faults.request()
        stream = opened(file, mode, *rest, **named)
        return _counted(stream, faults) if writes and faults.concerns(file) else stream

    def counted(name: str) -> Callable[..., object]:
        def call(first, *rest, **named):  # type: ignore[no-untyped-def]
            if isinstance(first, int) or faults.concerns(first):
                faults.request()
            return originals[name](first, *rest, **named)

        return call

    import builtins

    io.open = builtins.open = open_counted  # type: ignore[assignment]
    for name in originals:
        setattr(os, name, counted(name))
    try:
        yield
    finally:
        io.open = builtins.open = opened
        for name, original in originals.items():
            setattr(os, name, original)


def _counted(stream, faults: Faults):  # type: ignore[no-untyped-def]
    """Return a stream whose writes are counted."""

    class Counted(type(stream)):  # type: ignore[misc]
        def write(self, content):  # type: ignore[no-untyped-def]
            faults.request()
            return super().write(content)

    try:
        stream.__class__ = Counted
    except TypeError:
        # Streams written in C do not change their class; opening them was counted.
        return stream
    return stream


def failing_at(work: Work, folder: Path, number: int) -> Work:
    """Return the work with its n-th request failing."""

    def run() -> int:
        faults = Faults(folder, number)
        with injected(faults):
            code = work()
        (folder / "requests").write_text(str(faults.count))
        return code

    return run


def with_small_files(work: Work, limit: int) -> Work:
    """Return the work on a disk on which no file grows beyond so many bytes."""

    def run() -> int:
        # Python ignores the signal that comes with it, so writing ends in an error.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sys.stderr.flush()
        return work()

    return run


def with_little_memory(work: Work, limit: int) -> Work:
    """Return the work with so many bytes of address space beyond what the process has."""

    def run() -> int:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + limit,) * 2)
        return work()

    return run
