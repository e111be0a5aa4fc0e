"""Clock of a run: what is being done now, and how long each thing took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ProgressCallback = Callable[[int, int, str], None]


def ignore_progress(_done: int, _total: int, _text: str) -> None:
    """Progress callback that shows nothing."""


_listener: ContextVar[ProgressCallback] = ContextVar("listener", default=ignore_progress)


def inside(progress: ProgressCallback, name: str) -> ProgressCallback:
    """Return a callback whose texts are shown after ``name``."""

    def report(done: int, total: int, text: str) -> None:
        progress(done, total, f"{name}: {text}" if text else name)

    return report


@contextmanager
def listening(progress: ProgressCallback) -> Iterator[None]:
    """Pass what is told inside the block to a callback."""
    token = _listener.set(progress)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(text: str, done: int = 0, total: int = 0) -> None:
    """Tell whoever listens what is being done, from inside work that knows of no callback."""
    _listener.get()(done, total, text)


class Clock:
    """Announces stages to a progress callback and adds up their seconds by name.

    Attributes:
        progress: the callback.
        seconds: how long each stage took so far, in order of their first begin.
    """

    def __init__(self, progress: ProgressCallback) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce ``name`` and time the block."""
        self.progress(0, 0, name)
        started = time.perf_counter()
        try:
            with listening(self.within(name)):
                yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)

    def within(self, name: str) -> ProgressCallback:
        """Return a callback for the inside of a stage; its texts are shown after ``name``."""
        return inside(self.progress, name)
