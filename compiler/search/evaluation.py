"""The evaluation engine: plans in, trials out; what all searches share."""

from __future__ import annotations

import time
import uuid
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressc.clock import ProgressCallback, ignore_progress
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.errors import ExecutorError
from compressc.fingerprints import fingerprint, fingerprint_task
from compressc.goal import Goal
from compressc.plan import Plan
from compressc.program import Program
from compressc.search.executors import InProcess, count_slots, is_lost_worker
from compressc.search.held_out import hold_out
from compressc.search.journal import Journal
from compressc.search.judge import make_judge
from compressc.search.plan_costs import PlanCosts
from compressc.search.trials import Trial
from compressc.search.worker import Answer, Missing, forget_judge, judge_plan, keep_judge
from compressc.tasks.protocol import Inputs, Task

# A candidate whose worker dies this often is given up, and the search with it.
_ATTEMPTS = 4


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
        identity: a digest of the program, the data and the conditions.
        trials: every candidate asked for so far, by digest.
        seconds: wall time spent on evaluation.

    Args:
        program: the original; a pending plan is ignored.
        task: its search-validation split judges.
        goal: the budget: ``trials`` and ``seconds``. The original is not counted.
        conditions: how to judge.
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
        executor: Executor | None = None,
        work_dir: Path | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> None:
        conditions = conditions or Conditions()
        self._started = time.perf_counter()
        self.goal, self._progress = goal, progress
        self._executor = executor or InProcess()
        self._costs = PlanCosts(couple(program))
        calibration: tuple[Inputs, ...] = ()
        if conditions.recalibrate:
            drawn = task.calibration_batches(conditions.recalibrate, conditions.seed)
            calibration = tuple(drawn)
        held_out = hold_out(task, conditions.samples, conditions.seed)
        self.calibration = calibration
        self._judge = make_judge(program, held_out, calibration)
        self._packed: bytes | None = None
        self._uninformed: set[str] = set()
        self.base = self._judge.judge(Plan())
        self.identity = fingerprint(
            program, conditions, fingerprint_task(held_out, conditions.seed), self.base
        )
        self._key = uuid.uuid4().hex
        keep_judge(self._key, self._judge)
        weakref.finalize(self, forget_judge, self._key)
        path = work_dir / f"trials-{self.identity[:16]}.jsonl" if work_dir else None
        self._journal = Journal(path)
        self._known = self._journal.read()
        self.trials: dict[str, Trial] = {}
        self.seconds = 0.0

    @property
    def remaining(self) -> int | None:
        """How many more candidates the budget allows, or None for any number."""
        if self.goal.trials is None:
            return None
        return max(0, self.goal.trials - len(self.trials))

    @property
    def is_spent(self) -> bool:
        """Whether the budget allows no more candidate."""
        return self.remaining == 0 or self._is_late()

    def cost(self, plan: Plan) -> Cost:
        """Return what a plan costs, zeros not counted; free, and no part of the budget."""
        return self._costs.cost(plan)

    def evaluate(self, plans: Sequence[Plan]) -> list[Trial | None]:
        """Return the trial of every plan, or None for those that the budget does not allow.

        Plans that were evaluated before cost nothing.

        Raises:
            PlanError: if a plan does not fit the program.
            ExecutorError: if workers are lost again and again.
        """
        started = time.perf_counter()
        wanted: dict[str, Plan] = {}
        digests = [plan.digest for plan in plans]
        for digest, plan in zip(digests, plans, strict=True):
            if digest in self.trials or digest in wanted:
                continue
            if self.goal.trials is not None and len(self.trials) + len(wanted) >= (
                self.goal.trials
            ):
                continue
            wanted[digest] = plan
        self._run({digest: wanted[digest] for digest in wanted if digest not in self._known})
        for digest in wanted:
            if digest in self._known:
                self.trials[digest] = self._known[digest]
        self.seconds += time.perf_counter() - started
        return [self.trials.get(digest) for digest in digests]

    def _is_late(self) -> bool:
        limit = self.goal.seconds
        return limit is not None and time.perf_counter() - self._started > limit

    def _run(self, plans: dict[str, Plan]) -> None:
        """Evaluate plans and make them known, as far as time allows."""
        queue = deque(plans.items())
        attempts = dict.fromkeys(plans, 0)
        slots, running = count_slots(self._executor), dict[Future[Any], tuple[str, Plan, bool]]()
        done = 0
        try:
            while queue or running:
                while queue and len(running) < slots and not self._is_late():
                    digest, plan = queue.popleft()
                    carries = self._should_carry(running.values())
                    packed = self._pack() if carries else None
                    future = self._executor.submit(judge_plan, self._key, packed, plan)
                    running[future] = (digest, plan, carries)
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    digest, plan, carried = running.pop(future)
                    answer = self._answer(future, carried, digest, attempts)
                    if answer is None:
                        queue.append((digest, plan))
                        continue
                    self._record(digest, plan, answer)
                    done += 1
                    self._progress(done, len(plans), "")
        except BaseException:
            for future in running:
                future.cancel()
            raise

    def _answer(
        self, future: Future[Any], carried: bool, digest: str, attempts: dict[str, int]
    ) -> Answer | None:
        """Return the answer, or None where the plan must be sent again."""
        try:
            found = future.result()
        except Exception as error:
            if not is_lost_worker(error):
                raise
            attempts[digest] += 1
            if attempts[digest] >= _ATTEMPTS:
                raise ExecutorError(
                    f"a candidate was given up: {_ATTEMPTS} workers died over it; give each "
                    "worker more memory, or use fewer of them"
                ) from error
            return None
        if isinstance(found, Missing):
            self._uninformed.add(found.worker)
            return None
        assert isinstance(found, Answer)
        if found.worker in self._uninformed:
            self._uninformed.remove(found.worker)
        elif carried and self._uninformed:
            # It went to a worker that had the judge, and the one that lacks it may be dead by now;
            # if it is alive, it will say so again.
            self._uninformed.pop()
        return found

    def _should_carry(self, running: Iterable[tuple[str, Plan, bool]]) -> bool:
        """Return whether the next plan brings the judge along.

        Nobody can say to an executor who gets what. So as many plans carry the judge as there are
        workers known to lack it, and it travels about once to each.
        """
        under_way = sum(carries for _, _, carries in running)
        return under_way < len(self._uninformed)

    def _pack(self) -> bytes:
        if self._packed is None:
            self._packed = self._judge.pack()
        return self._packed

    def _record(self, digest: str, plan: Plan, answer: Answer) -> None:
        trial = Trial(digest, answer.metric, self._costs.cost(plan), round(answer.seconds, 4))
        self._known[digest] = trial
        self._journal.add(trial)
