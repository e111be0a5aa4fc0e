"""ASCAI: the pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.pass_fields import read_settings
from compressc.passes.ascai.announcer import Announcer
from compressc.passes.ascai.assessment import Assessment
from compressc.passes.ascai.breeding import Breeding
from compressc.passes.ascai.evolution import Evolution
from compressc.passes.ascai.finalists import Finalist, repair_finalists
from compressc.passes.ascai.judging import Judging
from compressc.passes.ascai.outcome import describe_best, pick_best
from compressc.passes.ascai.proposals import Proposal, propose_plans
from compressc.passes.ascai.searched import Searched
from compressc.passes.lowrank.remarks import describe_ranks
from compressc.passes.reconstruction.judged_weights import JudgedWeights
from compressc.passes.spaces.bounding import Bounding
from compressc.passes.spaces.search_space import SearchSpace
from compressc.passes.spaces.straight_cut import StraightCut
from compressc.passes.unit_features.samples import UnitSamples
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.reporting.search_page import write_search
from compressc.search.batch_norms import with_statistics
from compressc.search.evaluation import Evaluator
from compressc.search.history import SearchHead
from compressc.search.history_file import Recorder
from compressc.store.identity import identify
from compressc.store.store import Store
from compressc.tasks.protocol import Task, require_task
from compressc.writing import check_writable

# Settings that say where to compute and what to write, which changes no result.
_PLACES = ("workers", "dask", "history")


@dataclass(frozen=True)
class Ascai(Pass):
    """Find per-layer pruning ratios and ranks by a genetic algorithm.

    Without bounds in the goal, the best score wins among the candidates that lose at most
    ``search_drop`` points. With bounds on MACs, params or bytes, every candidate is made to meet
    them, and the most accurate wins where the score counts what is bounded; what ``surgeon`` and
    ``magnitude`` propose for them is judged first, so that the search never ends below it.

    Candidates are judged on the search-validation split, without training, with their layers
    refitted by least squares or as they are cut; the test split is never touched. Trials and
    history go to the work directory as they are made; an interrupted search goes on from there to
    the same result.

    Attributes:
        searched: what is searched.
        judging: how candidates are judged and scored.
        breeding: how a population begins and evolves.
        weights: with which weights candidates are judged, and the result is handed over.
        history: file for the history of the search: a page with plots if its name ends in .html,
            else JSON lines.

    Source:
        Javaheripi, Samragh, Javidi, Koushanfar, ASCAI: Adaptive Sampling for acquiring Compact AI,
        arXiv 1911.06471, 2019.

    Deviations:
        The paper's probabilities are not known to us; the defaults are ours. Elitism (``elite``)
        is not in the paper and off. Importance by reconstruction is not, either, nor are bounds:
        see ``Bounding``. A zero or negative denominator of the score is guarded: see ``Scoring``.
        Thresholds are found by bisection; individuals that are refused at the start: see
        ``start_warm``. The best individual of all generations is returned, not the best of the
        last.

    Raises:
        GoalError: if settings do not go together.
    """

    searched: Searched = field(default_factory=Searched)
    judging: Judging = field(default_factory=Judging)
    breeding: Breeding = field(default_factory=Breeding)
    weights: JudgedWeights = field(default_factory=JudgedWeights)
    history: str = ""
    name: ClassVar[str] = "ascai"
    declares: ClassVar[Declaration] = Declaration(
        needs="judge", changes=frozenset({"keep", "zero", "rank", "weights"})
    )

    def __post_init__(self) -> None:
        spaces = self.searched.spaces
        if self.judging.needs_cost_table and set(spaces) != {"ps"}:
            raise GoalError(
                f"score latency: the cost table predicts widths, not {','.join(spaces)}; "
                "search --spaces ps, or score macs"
            )

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with the best plan that the search comes to.

        Raises:
            DataError: if there is no task, or it cannot do what is asked of it.
            GoalError: if the bounds cannot be met.
            SearchError: if no candidate is accurate enough; it says how close the search came.
            PlanError: if nothing of the program can be compressed in these spaces.
            OutputError: if a file cannot be written.
            ExecutorError: if workers cannot be reached, or are lost again and again.
        """
        task = require_task(context.task, self.name)
        if self.history:
            check_writable(self.history)
        announcer = Announcer(context.progress)
        context = replace(context, progress=announcer.announce)
        context.progress(0, self.breeding.generations, "measuring importance")
        space = self.searched.build_space(program, task, context.goal.seed)
        bounding = self.bound(space, context)
        seed = context.goal.seed
        repair = self.weights.open_repair(program, task, seed, self.name, context.progress)
        proposals = self.propose(space, task, context)
        with self.judging.open_executor() as executor:
            evaluator = self.judging.open_evaluator(
                program, task, context, executor, announcer.count, repair
            )
            assessment = self.open_assessment(space, bounding, evaluator, context)
            evolution = Evolution(
                assessment, self.breeding, context.rng, context.progress, proposals
            )
            history = evolution.run()
        if self.history:
            write_search(self.history, history)
        best = pick_best(assessment)
        decided = program.with_plan(assessment.plan_of(best))
        recalibrated = bool(self.judging.recalibrate)
        if repair is not None:
            decided = repair.repaired(decided)
        if recalibrated:
            decided = with_statistics(decided, evaluator.calibration)
        finalists = self.repair_finalists(assessment, program, task, context)
        if finalists:
            best, decided = finalists[0].scored, finalists[0].program
        notes = describe_best(
            assessment,
            best,
            history,
            repaired=repair is not None,
            recalibrated=recalibrated and not finalists,
            elite=self.breeding.elite,
        )
        if finalists:
            notes = (*notes, f"the best of {len(finalists)} finalists after calibrate")
        lines = describe_ranks(decided, decided.plan.rank)
        return decided.with_line(HistoryLine(self.name, notes=(*notes, *lines)))

    def repair_finalists(
        self, assessment: Assessment, program: Program, task: Task, context: Context
    ) -> list[Finalist]:
        """Return the best candidates after calibrate, the best first; none if that is not asked."""
        if self.weights.judge == "as-cut" or not self.weights.finalists:
            return []
        return repair_finalists(
            assessment,
            program,
            task,
            context,
            count=self.weights.finalists,
            samples=self.weights.repair_samples,
            val_samples=self.judging.val_samples,
        )

    def propose(self, space: SearchSpace, task: Task, context: Context) -> list[Proposal]:
        """Return the plans that a warm start is seeded with.

        Raises:
            DataError: if the task gives no samples.
        """
        if self.breeding.initialization == "naive":
            return []
        samples = UnitSamples(task, self.searched.importance_samples, context.goal.seed, self.name)
        by_latency = self.judging.needs_cost_table
        return propose_plans(space, context, samples, by_latency=by_latency)

    def rehearsal(self) -> Pass:
        """Return a pass that goes straight to the bounds, without trying anything."""
        return StraightCut(self.searched.spaces)

    def bound(self, space: SearchSpace, context: Context) -> Bounding:
        """Return the goal's bounds on a space.

        Raises:
            GoalError: if they cannot be met.
        """
        bounds = Bounds(context.goal.bounds, couple(space.program).cost(Plan()))
        bounding = Bounding(space, bounds, self.judging.is_capped(bounds))
        bounding.check()
        return bounding

    def open_assessment(
        self, space: SearchSpace, bounding: Bounding, evaluator: Evaluator, context: Context
    ) -> Assessment:
        """Return what scores points of a space, and records them.

        Raises:
            OutputError: if the work directory cannot be written.
        """
        bounds = bounding.bounds
        price = self.judging.choose_price(space.program, context)
        scoring = self.judging.make_scoring(
            evaluator.base, price(Plan(), bounds.original), bounds, context.goal.max_drop
        )
        head = SearchHead(
            search=self.name,
            coordinates=tuple(coordinate.name for coordinate in space.coordinates),
            ends=tuple((coordinate.whole, coordinate.least) for coordinate in space.coordinates),
            base_metric=evaluator.base,
            base=asdict(bounds.original),
            threshold=scoring.threshold,
            settings=self._settings(),
        )
        recorder = Recorder(head, self._history_path(evaluator, context))
        return Assessment(space, evaluator, scoring, bounding, price, recorder)

    def _settings(self) -> dict[str, object]:
        """Return the settings that decide the result."""
        return {
            name: str(value) if callable(value) else value
            for name, value in read_settings(self).items()
            if name not in _PLACES
        }

    def _history_path(self, evaluator: Evaluator, context: Context) -> Path | None:
        if context.work_dir is None:
            return None
        judging = replace(self.judging, workers=0, dask="")
        searched = replace(self, judging=judging, history="")
        own = identify("ascai", evaluator.identity, passes=[searched], goal=context.goal)
        return Store(context.work_dir, own).path("ascai", "jsonl")
