"""Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_REPEAT_SECONDS = 10.0


class ProgressDisplay:
    """A context manager that is called with (done, total, text)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._printed = time.perf_counter()
        self._stage = ""

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            # A device without rich gets the plain lines of a pipe.
            with contextlib.suppress(ImportError):
                self._start_bar()
        return self

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            Elapsed(),
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=4,  # drawing must not disturb what is being timed
        )
        self._bar.start()
        self._task = self._bar.add_task("starting", total=None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, text: str) -> None:
        """Show that ``done`` of ``total`` steps of ``text`` are over; total 0 where unknown."""
        if self._quiet:
            return
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, description=text, completed=done, total=total if total else None
            )
            return
        now = time.perf_counter()
        # "round 3 of 90" is the same line as "round 2 of 90" until some time has passed.
        stage = re.sub(r"\d+", "", text)
        if stage != self._stage or now - self._printed > _REPEAT_SECONDS:
            share = f" ({100 * done // total} %)" if done and total else ""
            print(f"{now - self._started:7.1f} s  {text}{share}", file=sys.stderr, flush=True)
            self._stage, self._printed = stage, now
