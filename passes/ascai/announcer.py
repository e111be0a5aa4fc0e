"""Announcer: progress of a search that is made of generations, which are made of candidates."""

from __future__ import annotations

from compressc.clock import ProgressCallback


class Announcer:
    """Says what was last reached, and how many candidates of the next generation are done.

    Args:
        progress: called with (done, total, text).
    """

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._text = ""

    def announce(self, done: int, total: int, text: str) -> None:
        """Say that a generation, or another step, is reached."""
        self._text = text
        self._progress(done, total, text)

    def count(self, done: int, total: int, _text: str) -> None:
        """Say how many candidates of the current step are evaluated."""
        self._progress(done, total, f"candidate {done} of {total}; {self._text}")
