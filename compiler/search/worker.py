"""What runs inside a worker: judges by digest, each sent once, and plans judged by them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from compressc.plan import Plan
from compressc.search.judge import Judge, unpack_judge

# One search at a time needs one judge; a cluster may serve a few searches.
_MOST_JUDGES = 4
_JUDGES: OrderedDict[str, Judge] = OrderedDict()
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """The metric of one plan, what it took, and who found it."""

    metric: float
    seconds: float
    worker: str


@dataclass(frozen=True)
class Missing:
    """The worker has never seen the judge that was asked for."""

    worker: str


def keep_judge(key: str, judge: Judge) -> None:
    """Make a judge known to this process; the one not used for longest is forgotten."""
    with _LOCK:
        _JUDGES[key] = judge
        _JUDGES.move_to_end(key)
        while len(_JUDGES) > _MOST_JUDGES:
            _JUDGES.popitem(last=False)


def forget_judge(key: str) -> None:
    """Let a judge go."""
    with _LOCK:
        _JUDGES.pop(key, None)


def judge_plan(key: str, packed: bytes | None, plan: Plan) -> Answer | Missing:
    """Judge a plan.

    Args:
        key: of the judge.
        packed: the judge, for a worker that may not have it; None where it should.
        plan: fits the judge's program.
    """
    name = f"{socket.gethostname()}:{os.getpid()}"
    with _LOCK:
        judge = _JUDGES.get(key)
    if judge is None:
        if packed is None:
            return Missing(name)
        judge = unpack_judge(packed)
        keep_judge(key, judge)
    started = time.perf_counter()
    metric = judge.judge(plan)
    return Answer(metric, time.perf_counter() - started, name)
