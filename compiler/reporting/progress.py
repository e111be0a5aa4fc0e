"""Progress on stderr: a bar on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from compressc.process_rank import process_rank
from compressc.reporting.pace import Pace
from compressc.runtime.plain_text import printable
from compressc.watching import is_watched

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_REPEAT_SECONDS = 10.0
_LOOK_SECONDS = 1.0


class ProgressDisplay:
    """A context manager that is called with (done, total, text).

    Of several processes that train together, only the first shows anything.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet or process_rank() > 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._printed = time.perf_counter()
        self._pace = Pace()
        # As it is now: where torch is kept quiet, standard error is another one for a while.
        self._stream = sys.stderr
        self._said = ""
        self._over = threading.Event()

    def __enter__(self) -> Self:
        if not self._quiet:
            threading.Thread(target=self._repeat, daemon=True).start()
        if not self._quiet and is_watched():
            # A device without rich gets the plain lines of a pipe.
            with contextlib.suppress(ImportError):
                self._start_bar()
        return self

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed
        from rich.table import Column

        text = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=text, markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[remark]}"),
            Elapsed(),
            console=Console(file=self._stream),
            expand=True,
            transient=True,
            refresh_per_second=4,  # drawing must not disturb what is being timed
        )
        self._bar.start()
        self._task = self._bar.add_task("starting", total=None, remark="")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, text: str) -> None:
        """Show that ``done`` of ``total`` steps of ``text`` are over; total 0 where unknown."""
        if self._quiet:
            return
        text = printable(text)
        begun = self._pace.enter(done, text)
        remark = self._pace.remark(done, total)
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, description=text, completed=done, total=total or None, remark=remark
            )
            return
        self._said = f"{text} ({remark})" if remark else text
        if begun or time.perf_counter() - self._printed > _REPEAT_SECONDS:
            self._print()

    def _print(self) -> None:
        now = time.perf_counter()
        self._stream.write(f"{now - self._started:7.1f} s  {self._said}\n")
        self._stream.flush()
        self._printed = now

    def _repeat(self) -> None:
        """Say again what is being done where one step of it takes long; a bar moves by itself."""
        while not self._over.wait(_LOOK_SECONDS):
            silent = time.perf_counter() - self._printed
            if self._bar is None and self._said and silent > _REPEAT_SECONDS:
                # Whoever read the lines may have gone away.
                with contextlib.suppress(OSError, ValueError):
                    self._print()
