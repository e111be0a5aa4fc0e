"""Clock of a run: what is being done now, and how long each thing took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressCallback = Callable[[int, int, str], None]


def ignore_progress(_done: int, _total: int, _text: str) -> None:
    """Progress callback that shows nothing."""


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
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)

    def within(self, name: str) -> ProgressCallback:
        """Return a callback for the inside of a stage; its texts are shown after ``name``."""

        def report(done: int, total: int, text: str) -> None:
            self.progress(done, total, f"{name}: {text}" if text else name)

        return report
