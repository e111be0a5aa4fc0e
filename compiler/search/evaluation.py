"""The evaluation engine: plans in, trials out; what all searches share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compressc.clock import ProgressCallback, ignore_progress
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.coupling.priced_costs import price_plan
from compressc.goal import Goal
from compressc.plan import Plan
from compressc.program import Program
from compressc.search.dispatch import Dispatcher
from compressc.search.executors import InProcess
from compressc.search.journal import Journal
from compressc.search.judge import make_judge
from compressc.search.repair import CandidateRepair
from compressc.search.trials import Trial
from compressc.search.validation_sample import sample_validation
from compressc.search.worker import Answer
from compressc.store.identity import identify
from compressc.store.store import Store
from compressc.tasks.protocol import Inputs, Task
from compressc.zero_price import SPARSE

Point = tuple[float, ...]


@dataclass(frozen=True)
class Conditions:
    """Under which conditions candidates are judged.

    Attributes:
        samples: search-validation samples; 0 for all.
        recalibrate: unlabelled training samples on which batch norm statistics are measured anew
            for every candidate; 0 to keep those of the original.
        seed: decides which samples.
    """

    samples: int = 0
    recalibrate: int = 0
    seed: int = 0


class Evaluator:
    """Judges plans of one program: on an executor, each plan once, within a budget.

    Nothing here ever sees the test split. The same plans give the same trials wherever they are
    evaluated, whatever order they come back in.

    Attributes:
        base: the metric of the original, on the same samples as every candidate's.
        goal: the budget.
        calibration: the batches for batch norm statistics, if any.
        identity: a digest of the program, the data, the conditions and the repair.
        seconds: wall time spent in :meth:`evaluate`.

    Args:
        program: the original; a pending plan is ignored.
        task: its search-validation split judges.
        goal: the budget: ``trials`` and ``seconds``. The original is not counted.
        conditions: how to judge.
        repair: changes the weights of every candidate before it is judged, as what is handed over
            will be; None to judge candidates as they are cut.
        executor: where; None for this process.
        work_dir: keeps a journal of trials, from which an interrupted search goes on; or None.
        progress: called with (done, total, text) while plans are evaluated.
    """

    def __init__(
        self,
        program: Program,
        task: Task,
        goal: Goal,
        conditions: Conditions | None = None,
        *,
        repair: CandidateRepair | None = None,
        executor: Executor | None = None,
        work_dir: Path | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> None:
        conditions = conditions or Conditions()
        self._started = time.perf_counter()
        self.goal, self._progress = goal, progress
        self._coupling = couple(program)
        self.calibration: tuple[Inputs, ...] = ()
        if conditions.recalibrate:
            drawn = task.calibration_batches(conditions.recalibrate, conditions.seed)
            self.calibration = tuple(drawn)
        sample = sample_validation(task, conditions.samples, conditions.seed)
        judge = make_judge(program, sample, self.calibration, repair)
        self.base = judge.judge(Plan())
        self.identity = identify(
            "search",
            conditions,
            repair and repair.identity,
            self.base,
            program=program,
            task=sample,
            seed=conditions.seed,
            kept=work_dir is not None,
        )
        self._dispatcher = Dispatcher(executor or InProcess(), judge, self._is_late)
        path = Store(work_dir, self.identity).path("trials", "jsonl") if work_dir else None
        self._journal = Journal(path)
        self._known = self._journal.read()
        self._asked: dict[str, Future[Trial | None]] = {}
        self.seconds = 0.0

    @property
    def trials(self) -> dict[str, Trial]:
        """Every candidate that was asked for and is judged, by digest, in the order of asking."""
        done = {digest: _peek(future) for digest, future in list(self._asked.items())}
        return {digest: trial for digest, trial in done.items() if trial is not None}

    @property
    def spent(self) -> int:
        """How many candidates the budget was charged for, those under way included."""
        return len(self._asked)

    @property
    def remaining(self) -> int | None:
        """How many more candidates the budget allows, or None for any number."""
        return None if self.goal.trials is None else max(0, self.goal.trials - self.spent)

    @property
    def is_spent(self) -> bool:
        """Whether the budget allows no more candidate."""
        return self.remaining == 0 or self._is_late()

    def cost(self, plan: Plan) -> Cost:
        """Return what a plan costs, zeros not counted; free, and no part of the budget."""
        return price_plan(self._coupling, plan, SPARSE)

    def submit(self, plan: Plan, point: Point = ()) -> Future[Trial | None]:
        """Ask for the trial of a plan, and do not wait for it.

        A plan that was asked for before costs nothing. The future's result is None where the
        budget does not allow the plan; it raises what the evaluation raised, such as an
        ExecutorError where workers are lost again and again. All plans are submitted by one thread.

        Args:
            plan: fits the program.
            point: the values that the plan was made from in a search space; the trial keeps them.

        Raises:
            PlanError: if a layer of the plan cannot be factorised.
        """
        digest = plan.digest
        if digest in self._asked:
            return self._asked[digest]
        if self.remaining == 0:
            return _finished(None)
        if digest in self._known:
            future = _finished(self._known[digest])
        else:
            record = partial(self._record, digest, point, price_plan(self._coupling, plan, SPARSE))
            future = self._dispatcher.submit(plan, record)
        self._asked[digest] = future
        future.add_done_callback(partial(self._refund, digest))
        return future

    def evaluate(self, plans: Sequence[Plan], points: Sequence[Point] = ()) -> list[Trial | None]:
        """Return the trial of every plan, or None for those that the budget does not allow.

        Args:
            plans: fit the program.
            points: per plan what it was made from, or nothing; see :meth:`submit`.

        Raises:
            PlanError: if a plan does not fit the program.
            ExecutorError: if workers are lost again and again.
        """
        started = time.perf_counter()
        try:
            return self._gather(plans, points or [()] * len(plans))
        except BaseException:
            self._dispatcher.give_up()
            raise
        finally:
            self.seconds += time.perf_counter() - started

    def _gather(self, plans: Sequence[Plan], points: Sequence[Point]) -> list[Trial | None]:
        digests = [plan.digest for plan in plans]
        fresh = self._list_fresh(digests)
        counter = _Counter(self._progress, len(fresh))
        futures: dict[str, Future[Trial | None]] = {}
        under_way = []
        for digest, plan, point in zip(digests, plans, points, strict=True):
            if digest in futures:
                continue
            futures[digest] = self.submit(plan, point)
            if futures[digest].done():
                futures[digest].result()
                counter.add(digest in fresh)
            else:
                under_way.append(futures[digest])
        for future in as_completed(under_way):
            future.result()
            counter.add(True)
        return [futures[digest].result() for digest in digests]

    def _list_fresh(self, digests: Sequence[str]) -> set[str]:
        """Return which candidates have to be evaluated, as far as the budget allows."""
        new = [d for d in dict.fromkeys(digests) if d not in self._asked]
        return {digest for digest in new[: self.remaining] if digest not in self._known}

    def _is_late(self) -> bool:
        limit = self.goal.seconds
        return limit is not None and time.perf_counter() - self._started > limit

    def _record(self, digest: str, point: Point, cost: Cost, answer: Answer) -> Trial:
        trial = Trial(digest, answer.metric, cost, round(answer.seconds, 4), point)
        self._known[digest] = trial
        self._journal.add(trial)
        return trial

    def _refund(self, digest: str, future: Future[Trial | None]) -> None:
        """Take back the charge for a candidate that was never judged."""
        if _peek(future) is None:
            self._asked.pop(digest, None)


class _Counter:
    """Tells a progress callback how many of some candidates are done."""

    def __init__(self, progress: ProgressCallback, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, counts: bool) -> None:
        if counts:
            self._done += 1
            self._progress(self._done, self._total, "")


def _finished(trial: Trial | None) -> Future[Trial | None]:
    future: Future[Trial | None] = Future()
    future.set_result(trial)
    return future


def _peek(future: Future[Trial | None]) -> Trial | None:
    """Return the trial of a future that has one by now, else None."""
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    return future.result()
