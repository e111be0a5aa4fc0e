"""Judging: the part of ASCAI's settings that says how candidates are judged and scored."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from compressc.bounds import Bounds
from compressc.clock import ProgressCallback
from compressc.contract.context import Context
from compressc.errors import GoalError
from compressc.passes.ascai.pricing import (
    Price,
    Saved,
    price_by_cost,
    price_by_latency,
    price_by_program,
)
from compressc.passes.ascai.scoring import Scoring
from compressc.program import Program
from compressc.search.evaluation import Conditions, Evaluator
from compressc.search.executors import open_executor
from compressc.search.repair import CandidateRepair
from compressc.tasks.protocol import Task

# Points of the metric that may be lost where nobody says; bounds leave less choice, and the score
# tells candidates apart only above the threshold.
_DROP = 5.0
_BOUNDED_DROP = 20.0


@dataclass(frozen=True)
class Judging:
    """How candidates are judged: on what, where, and what the search is to save.

    Attributes:
        score: what is saved: MACs, params, bytes, or "latency" as the cost table predicts it, which
            knows widths only ("ps").
        search_drop: points of the metric that a candidate may lose before any training; None for
            the goal's ``max_drop``, or where it has none for 5, and 20 under bounds.
        least_penalty: points of the metric below which a loss counts as noise.
        val_samples: search-validation samples per candidate; 0 for all.
        recalibrate: unlabelled samples on which every candidate's batch norm statistics are
            measured anew, and the result's; 0 to leave them. Calibrate behind it starts from the
            statistics of the original in its context.
        workers: local processes; 0 for this one.
        dask: address of a Dask scheduler, such as tcp://host:8786.
        measure_saved: what is saved instead of ``score``, such as a latency of one's own: a
            function of a program with a plan pending.

    Raises:
        GoalError: if a number is out of range.
    """

    score: Saved = "macs"
    search_drop: float | None = None
    least_penalty: float = 0.5
    val_samples: int = 0
    recalibrate: int = 0
    workers: int = 0
    dask: str = ""
    measure_saved: Callable[[Program], float] | None = None

    def __post_init__(self) -> None:
        for what in ("val_samples", "recalibrate", "workers"):
            if getattr(self, what) < 0:
                raise GoalError(f"{what} {getattr(self, what)}: must be 0 or more")
        if self.least_penalty <= 0:
            raise GoalError(f"least_penalty {self.least_penalty:g}: must be above 0")
        if self.search_drop is not None and not self.search_drop >= 0:
            raise GoalError(f"search_drop {self.search_drop:g}: must be 0 or more")

    @property
    def needs_cost_table(self) -> bool:
        """Whether what is saved is predicted from the table of kernels."""
        return self.score == "latency" and self.measure_saved is None

    def open_executor(self) -> Executor:
        """Return where candidates are judged; use it in a ``with`` statement.

        Raises:
            ExecutorError: if workers cannot be started or reached.
        """
        return open_executor(self.workers, self.dask)

    def open_evaluator(
        self,
        program: Program,
        task: Task,
        context: Context,
        executor: Executor,
        progress: ProgressCallback,
        repair: CandidateRepair | None = None,
    ) -> Evaluator:
        """Return what judges plans of a program within the goal's budget.

        Raises:
            DataError: if the task cannot be sampled as asked.
        """
        return Evaluator(
            program,
            task,
            context.goal,
            Conditions(self.val_samples, self.recalibrate, context.goal.seed),
            repair=repair,
            executor=executor,
            work_dir=context.work_dir,
            progress=progress,
        )

    def choose_price(self, program: Program, context: Context) -> Price:
        """Return what a plan takes of that which is saved.

        Raises:
            GoalError: if the context's cost table is of another model.
        """
        if self.measure_saved is not None:
            return price_by_program(program, self.measure_saved)
        if self.score == "latency":
            return price_by_latency(program, context)
        return price_by_cost(self.score)

    def is_capped(self, bounds: Bounds) -> bool:
        """Return whether saving beyond the bounds is worth nothing: they bound what is saved."""
        return self.measure_saved is None and self.score in bounds.limits

    def make_scoring(
        self, base_metric: float, original: float, bounds: Bounds, max_drop: float | None
    ) -> Scoring:
        """Return how candidates are scored.

        Args:
            base_metric: of the original, on the samples that candidates are judged on.
            original: what the original takes of what is saved.
            bounds: of the goal.
            max_drop: of the goal.
        """
        drop = self.search_drop if self.search_drop is not None else max_drop
        if drop is None:
            drop = _BOUNDED_DROP if bounds else _DROP
        most_saved = 1.0
        if self.is_capped(bounds):
            most_saved -= bounds.allowed(self.score) / original
        return Scoring(
            base_metric=base_metric,
            threshold=base_metric - drop,
            original=original,
            least_penalty=self.least_penalty,
            most_saved=most_saved,
        )
