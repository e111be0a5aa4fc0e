"""Pace: how much of a stage is done, and how long the rest will take."""

from __future__ import annotations

import re
import time
from itertools import pairwise

# Before that, an estimate says nothing.
_WARM_UP_SECONDS = 5.0
_LEAST_STEPS = 4
# The pace of the last half of the time may differ by this share from that of the whole.
_STABLE = 0.2
# No single step may have taken more than this share of the time so far.
_LONGEST_STEP = 0.4


class Pace:
    """Follows one stage after the other.

    "running finetune: epoch 2 of 9" belongs to the stage of "running finetune: epoch 1 of 9". The
    time that is left is told only once it holds: while steps take unlike times, or there were too
    few of them, it is not.
    """

    def __init__(self) -> None:
        self._stage = ""
        self._total = 0
        self._marks: list[tuple[float, int]] = []

    def enter(self, done: int, text: str) -> bool:
        """Take note of where things are; return whether a new stage has begun."""
        stage = re.sub(r"\d+", "", text.split(": ")[0])
        if stage == self._stage:
            return False
        # A resumed stage does not begin at 0.
        self._stage, self._marks = stage, [(time.perf_counter(), done)]
        return True

    def remark(self, done: int, total: int) -> str:
        """Return the share that is done and the time left, as far as they are known."""
        now = time.perf_counter()
        if self._marks and (total != self._total or done < self._marks[-1][1]):
            # Another count within the stage: what came before says nothing about it.
            self._marks = [(now, done)] if self._total else [(self._marks[0][0], done)]
        self._total = total
        if not self._marks or done > self._marks[-1][1]:
            self._marks.append((now, done))
        if not done or not total:
            return ""
        share = f"{100 * done // total} %"
        left = self._seconds_left(now, done, total)
        return share if left is None else f"{share}, {readable_duration(left)} left"

    def _seconds_left(self, now: float, done: int, total: int) -> float | None:
        """Return the time left by the pace of the last half; None while that is not stable."""
        started, first = self._marks[0]
        spent, made = now - started, done - first
        if spent < _WARM_UP_SECONDS or made < _LEAST_STEPS or done >= total:
            return None
        longest = max(later - sooner for (sooner, _), (later, _) in pairwise(self._marks))
        if longest > _LONGEST_STEP * spent:
            return None
        since, before = next(mark for mark in self._marks if mark[0] >= started + spent / 2)
        if done <= before or now <= since:
            return None
        whole, recent = made / spent, (done - before) / (now - since)
        if abs(recent - whole) > _STABLE * whole:
            return None
        return (total - done) / recent


def readable_duration(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
