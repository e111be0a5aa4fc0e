"""Pace: how much of a stage is done, and how long the rest will take."""

from __future__ import annotations

import re
import time

# Before that, an estimate says nothing.
_WARM_UP_SECONDS = 1.0


class Pace:
    """Follows one stage after the other.

    "running finetune: epoch 2 of 9" belongs to the stage of "running finetune: epoch 1 of 9".
    """

    def __init__(self) -> None:
        self._stage = ""
        self._started = 0.0
        self._first = 0

    def enter(self, done: int, text: str) -> bool:
        """Take note of where things are; return whether a new stage has begun."""
        stage = re.sub(r"\d+", "", text.split(": ")[0])
        if stage == self._stage:
            return False
        # A resumed stage does not begin at 0.
        self._stage, self._started, self._first = stage, time.perf_counter(), done
        return True

    def remark(self, done: int, total: int) -> str:
        """Return the share that is done and the time left, as far as they are known."""
        if not done or not total:
            return ""
        share = f"{100 * done // total} %"
        spent = time.perf_counter() - self._started
        made = done - self._first
        if spent < _WARM_UP_SECONDS or made <= 0 or done >= total:
            return share
        return f"{share}, {readable_duration(spent / made * (total - done))} left"


def readable_duration(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
