"""Asking for trials without waiting: answers come from other threads, in any order."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from compressc.errors import ExecutorError, OutputError, PlanError
from compressc.goal import Goal
from compressc.passes.spaces.coordinates import Point
from compressc.passes.spaces.search_space import SearchSpace
from compressc.passes.spaces.space_building import build_space
from compressc.plan import Plan
from compressc.search.evaluation import Evaluator
from compressc.search.journal import Journal
from tests.search.test_evaluation import Counting, evaluator, plans
from tests.search_kit import trained

ROOT = Path(__file__).parents[2]


class Threads(Executor):
    """Judges in two threads; answers may be held back, and submissions may die.

    Args:
        deaths: numbers of the submissions over which a worker "dies".
    """

    slots = 4

    def __init__(self, deaths: set[int] | None = None) -> None:
        self._pool = ThreadPoolExecutor(2)
        self.go, self.submitted, self._deaths = threading.Event(), 0, deaths or set()
        self.go.set()
        self.most, self._open, self._lock = 0, 0, threading.Lock()

    def submit(self, fn, /, *args, **kwargs) -> Future:
        with self._lock:
            self.submitted += 1
            number = self.submitted
            self._open += 1
            self.most = max(self.most, self._open)
        return self._pool.submit(self._work, number, fn, args)

    def _work(self, number, fn, args):
        self.go.wait(20)
        try:
            if number in self._deaths:
                raise BrokenProcessPool("died")
            return fn(*args)
        finally:
            with self._lock:
                self._open -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.go.set()
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def test_in_this_process_a_future_is_done_at_once():
    engine = evaluator()
    (plan,) = plans(1)
    future = engine.submit(plan)
    assert future.done()
    assert future.result() == engine.trials[plan.digest]
    assert engine.evaluate([plan]) == [future.result()]


def test_answers_come_while_nobody_waits_and_are_those_of_the_batch():
    with Threads() as executor:
        engine = evaluator(executor=executor)
        executor.go.clear()
        futures = [engine.submit(plan) for plan in plans(9)]
        assert not any(future.done() for future in futures)
        assert executor.submitted == executor.slots
        assert engine.spent == 9
        assert engine.trials == {}
        executor.go.set()
        first, _ = wait(futures, return_when=FIRST_COMPLETED, timeout=20)
        assert first
        wait(futures, timeout=20)
        assert executor.most <= executor.slots
        metrics = [future.result().metric for future in futures]
    assert metrics == [trial.metric for trial in evaluator().evaluate(plans(9))]
    assert list(engine.trials) == [plan.digest for plan in plans(9)]


def test_a_plan_under_way_is_asked_for_once():
    with Threads() as executor:
        engine = evaluator(executor=executor)
        executor.go.clear()
        (plan,) = plans(1)
        assert engine.submit(plan) is engine.submit(plan)
        executor.go.set()
        assert engine.evaluate([plan, plan])[0] == engine.submit(plan).result()
        assert executor.submitted == 1


def test_the_budget_counts_what_is_under_way():
    with Threads() as executor:
        engine = evaluator(Goal(trials=2), executor=executor)
        executor.go.clear()
        first, second, third = (engine.submit(plan) for plan in plans(3))
        assert engine.remaining == 0
        assert engine.is_spent
        assert third.result() is None
        executor.go.set()
        assert None not in (first.result(20), second.result(20))
    assert engine.spent == 2


def test_a_plan_that_waits_while_time_runs_out_is_no_trial_and_is_not_charged(monkeypatch):
    with Threads() as executor:
        engine = evaluator(Goal(seconds=1000.0), executor=executor)
        executor.go.clear()
        futures = [engine.submit(plan) for plan in plans(6)]
        monkeypatch.setattr(engine, "_started", engine._started - 2000.0)
        executor.go.set()
        trials = [future.result(20) for future in futures]
    assert None not in trials[: executor.slots]
    assert trials[executor.slots :] == [None, None]
    assert engine.spent == len(engine.trials) == executor.slots


def test_lost_workers_are_made_up_for_from_other_threads():
    with Threads(deaths={1, 4, 5}) as executor:
        engine = evaluator(executor=executor)
        futures = [engine.submit(plan) for plan in plans(6)]
        metrics = [future.result(20).metric for future in futures]
    assert metrics == [trial.metric for trial in evaluator().evaluate(plans(6))]
    assert executor.submitted == 9


def test_a_candidate_that_kills_every_worker_fails_alone():
    with Threads(deaths={1, 3, 4, 5}) as executor:
        executor.slots = 2
        engine = evaluator(executor=executor)
        executor.go.clear()
        killer, harmless = (engine.submit(plan) for plan in plans(2))
        executor.go.set()
        with pytest.raises(ExecutorError, match="4 workers died over it"):
            killer.result(20)
        assert harmless.result(20) is not None
    assert engine.spent == 1


def test_what_is_wrong_with_a_plan_is_said_by_its_future():
    keep = {"a": np.zeros(16, dtype=bool)}
    engine = evaluator()
    with pytest.raises(PlanError, match="at least 1 unit"):
        engine.submit(Plan(keep=keep)).result()
    assert engine.spent == 0
    with Threads() as executor:
        future = evaluator(executor=executor).submit(Plan(keep=keep))
        with pytest.raises(PlanError, match="at least 1 unit"):
            future.result(20)


def test_a_journal_that_cannot_be_written_is_said_by_the_future(tmp_path):
    (tmp_path / "state").write_text("in the way")
    with Threads() as executor:
        engine = evaluator(work_dir=tmp_path / "state", executor=executor)
        with pytest.raises(OutputError, match="cannot be written"):
            engine.submit(plans(1)[0]).result(20)


def test_a_batch_that_fails_leaves_nothing_waiting():
    with Threads() as executor:
        engine = evaluator(executor=executor)
        executor.go.clear()
        pending = [engine.submit(plan) for plan in plans(6)]
        with pytest.raises(PlanError):
            engine.evaluate([Plan(rank={"nothing": (1,)})])
        for future in pending:
            with pytest.raises(CancelledError):
                future.result(20)
        executor.go.set()
    assert engine.spent == 0


def space() -> SearchSpace:
    return build_space(trained()[0], ("pn", "svd"), {})


def points(count: int) -> list[Point]:
    rng = np.random.default_rng(0)
    found = space()
    low, high = np.minimum(found.least, found.whole), np.maximum(found.least, found.whole)
    return [found.point(rng.uniform(low, high)) for _ in range(count)]


def test_a_trial_keeps_the_point_that_its_plan_was_made_from(tmp_path):
    engine = evaluator(work_dir=tmp_path)
    drawn = points(3)
    batch = engine.evaluate([space().plan_of(p) for p in drawn[:2]], [p.values for p in drawn[:2]])
    last = engine.submit(space().plan_of(drawn[2]), drawn[2].values).result()
    assert [trial.point for trial in (*batch, last)] == [point.values for point in drawn]
    assert engine.submit(plans(1)[0]).result().point == ()


PROGRAM = """
import os, sys, time
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from tests.search.test_submit import space, points, evaluator
engine = evaluator(work_dir=Path(sys.argv[1]))
for point in points(5):
    engine.submit(space().plan_of(point), point.values)
print("judged", flush=True)
time.sleep(60)
"""


def test_after_a_kill_the_plans_of_all_trials_can_be_made_again(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(root=str(ROOT)), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "judged\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    (path,) = tmp_path.glob("trials-*.jsonl")
    trials = Journal(path).read()
    assert [trial.point for trial in trials.values()] == [point.values for point in points(5)]
    queue = {digest: space().plan_of(Point(trial.point)) for digest, trial in trials.items()}
    assert [plan.digest for plan in queue.values()] == list(queue)
    executor = Counting()
    program, task = trained()
    again = Evaluator(program, task, Goal(), work_dir=tmp_path, executor=executor)
    assert again.evaluate(list(queue.values())) == list(trials.values())
    assert executor.done == 0


def test_the_collecting_thread_ends_with_the_work():
    with Threads() as executor:
        engine = evaluator(executor=executor)
        assert None not in engine.evaluate(plans(5))
        deadline = time.monotonic() + 20
        while engine._dispatcher._collector is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert engine._dispatcher._collector is None
        assert None not in engine.evaluate(plans(8))
