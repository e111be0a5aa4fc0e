"""Dispatch: plans go to an executor, answers come back, and lost workers are made up for."""

from __future__ import annotations

import threading
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from compressc.errors import ExecutorError
from compressc.plan import Plan
from compressc.search.executors import count_slots, is_lost_worker
from compressc.search.judge import Judge
from compressc.search.trials import Trial
from compressc.search.worker import Answer, Missing, forget_judge, judge_plan, keep_judge

# A candidate whose worker dies this often is given up, and the search with it.
_ATTEMPTS = 4


@dataclass(eq=False)
class _Errand:
    """A plan on its way, until somebody has an answer for it.

    Attributes:
        plan: to be judged.
        record: makes the trial of the answer.
        outcome: what the caller waits for.
        carries: whether the judge travels with it this time.
        attempts: how many workers died over it.
        is_given_up: whether nobody waits for it any more.
    """

    plan: Plan
    record: Callable[[Answer], Trial]
    outcome: Future[Trial | None] = field(default_factory=Future)
    carries: bool = False
    attempts: int = 0
    is_given_up: bool = False


class Dispatcher:
    """Keeps as many plans under way as the executor has room for.

    An executor that works in this thread is done before ``submit`` returns. For others a thread
    takes in the answers; it ends when there is nothing left to wait for.

    Args:
        executor: where plans are judged.
        judge: what judges them; each worker gets it once.
        is_late: asked before a plan is sent. Once it says yes, the plans that wait are not sent,
            and their outcome is None.
    """

    def __init__(self, executor: Executor, judge: Judge, is_late: Callable[[], bool]) -> None:
        self._executor, self._judge, self._is_late = executor, judge, is_late
        self._packed: bytes | None = None
        # Workers that said they lack the judge, and have not answered since.
        self._uninformed: set[str] = set()
        self._key = uuid.uuid4().hex
        keep_judge(self._key, judge)
        weakref.finalize(self, forget_judge, self._key)
        self._lock = threading.RLock()
        self._waiting: deque[_Errand] = deque()
        self._running: dict[Future[Any], _Errand] = {}
        self._answered: SimpleQueue[Future[Any]] = SimpleQueue()
        self._collector: threading.Thread | None = None

    def submit(self, plan: Plan, record: Callable[[Answer], Trial]) -> Future[Trial | None]:
        """Send a plan as soon as there is room for it.

        Args:
            plan: fits the judge's program.
            record: makes the trial of the answer; called once, one call at a time.

        Returns:
            The trial; None where time was up before the plan was sent; or the error that the
            evaluation raised, an ExecutorError where workers are lost again and again.
        """
        errand = _Errand(plan, record)
        errand.outcome.set_running_or_notify_cancel()
        with self._lock:
            self._waiting.append(errand)
            self._launch()
        return errand.outcome

    def give_up(self) -> None:
        """Wait for nothing any more: all outcomes that are open raise CancelledError."""
        with self._lock:
            waiting = [*self._waiting]
            self._waiting.clear()
            for future, errand in self._running.items():
                errand.is_given_up = True
                future.cancel()
                waiting.append(errand)
            for errand in waiting:
                errand.outcome.set_exception(CancelledError())

    def _launch(self) -> None:
        """Send what waits, as far as there is room and time."""
        slots = count_slots(self._executor) if self._waiting else 0
        while self._waiting and len(self._running) < slots:
            errand = self._waiting.popleft()
            if self._is_late():
                errand.outcome.set_result(None)
                continue
            try:
                future = self._send(errand)
            except Exception as error:  # noqa: BLE001 - it goes to whoever waits for the answer
                errand.outcome.set_exception(error)
                continue
            self._running[future] = errand
            if future.done():
                self._settle(future)
            else:
                # The callback runs in a thread of the executor, which may hold its locks: it must
                # not do more than this.
                future.add_done_callback(self._answered.put)
                self._start_collector()

    def _send(self, errand: _Errand) -> Future[Any]:
        errand.carries = self._should_carry()
        if errand.carries and self._packed is None:
            self._packed = self._judge.pack()
        packed = self._packed if errand.carries else None
        return self._executor.submit(judge_plan, self._key, packed, errand.plan)

    def _should_carry(self) -> bool:
        """Return whether the next plan brings the judge along.

        Nobody can say to an executor who gets what. So as many plans carry the judge as there are
        workers known to lack it, and it travels about once to each.
        """
        under_way = sum(errand.carries for errand in self._running.values())
        return under_way < len(self._uninformed)

    def _start_collector(self) -> None:
        if self._collector is None:
            self._collector = threading.Thread(
                target=self._collect, name="compressc trials", daemon=True
            )
            self._collector.start()

    def _collect(self) -> None:
        """Take in answers, and send what waits for room, until nothing is under way."""
        while True:
            future = self._answered.get()
            with self._lock:
                self._settle(future)
                self._launch()
                if not self._running:
                    self._collector = None
                    return

    def _settle(self, future: Future[Any]) -> None:
        """Pass on what came back, or send the plan again where it never reached a judge."""
        errand = self._running.pop(future)
        if errand.is_given_up:
            return
        error = CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self._retry(errand, error)
            return
        reply = future.result()
        if isinstance(reply, Missing):
            self._uninformed.add(reply.worker)
            self._waiting.append(errand)
            return
        assert isinstance(reply, Answer)
        self._note_informed(errand, reply)
        try:
            errand.outcome.set_result(errand.record(reply))
        except Exception as failure:  # noqa: BLE001 - it goes to whoever waits for the answer
            errand.outcome.set_exception(failure)

    def _retry(self, errand: _Errand, error: BaseException) -> None:
        if not is_lost_worker(error):
            errand.outcome.set_exception(error)
            return
        errand.attempts += 1
        if errand.attempts < _ATTEMPTS:
            self._waiting.append(errand)
            return
        failure = ExecutorError(
            f"a candidate was given up: {_ATTEMPTS} workers died over it; give each worker more "
            "memory, or use fewer of them"
        )
        failure.__cause__ = error
        errand.outcome.set_exception(failure)

    def _note_informed(self, errand: _Errand, answer: Answer) -> None:
        if answer.worker in self._uninformed:
            self._uninformed.remove(answer.worker)
        elif errand.carries and self._uninformed:
            # It went to a worker that had the judge, and the one that lacks it may be dead by now;
            # if it is alive, it will say so again.
            self._uninformed.pop()
