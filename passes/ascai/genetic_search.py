"""ASCAI: the pass."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

from compressc.array_types import FloatArray
from compressc.bounds import Bounds
from compressc.clock import ignore_progress
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.errors import GoalError, SearchError
from compressc.goal import Goal
from compressc.passes.activation_gradients import measure_gradient_importance
from compressc.passes.ascai.announcer import Announcer
from compressc.passes.ascai.assessment import Amount, Assessment, Scored, measure_amount
from compressc.passes.ascai.bounding import Bounding
from compressc.passes.ascai.evolution import Evolution
from compressc.passes.ascai.reach import ReachRehearsal
from compressc.passes.ascai.scoring import Scoring
from compressc.passes.ascai.space import METHODS, Method, SearchSpace, build_space
from compressc.passes.ascai.variation import Variation
from compressc.passes.ascai.warm_start import Start, start_naively, start_warm
from compressc.passes.importance import measure_importance
from compressc.passes.latency.prediction import predict_from_table
from compressc.passes.lowrank.remarks import describe_ranks
from compressc.passes.reconstruction.importance import measure_reconstruction_importance
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.reporting.search_page import write_search
from compressc.search.batch_norms import with_statistics
from compressc.search.evaluation import Conditions, Evaluator
from compressc.search.executors import open_executor
from compressc.search.history import History
from compressc.tasks.protocol import Batch, Task, draw_samples, require_task
from compressc.writing import check_writable

# Points of the metric that may be lost where nobody says; bounds leave less choice, and the score
# tells candidates apart only above the threshold.
_DROP = 5.0
_BOUNDED_DROP = 20.0
_FEWEST = 4
# Of the least squares behind the importance by reconstruction; the surgeon's default.
_RIDGE = 1e-3
# Fields that say where to compute and what to write, which changes no result.
_PLACES = ("workers", "dask", "history")


@dataclass(frozen=True)
class Ascai(Pass):
    """Find per-layer pruning ratios and ranks by a genetic algorithm.

    Without bounds in the goal, the best score wins among the candidates that lose at most
    ``search_drop`` points. With bounds on MACs, params or bytes, every candidate is made to meet
    them, and the most accurate wins where the score counts what is bounded. Candidates are judged
    on the search-validation split as they are cut, without training; the test split is never
    touched. Trials go to the work directory as they are made, and the history after every
    generation; an interrupted search goes on from there to the same result.

    Attributes:
        spaces: what is searched, together in one individual: "ps" channels, "pn" single weights,
            "svd" ranks of linear and 1x1 layers, "tucker" ranks of other convolutions.
        population: individuals per generation; fewer where the goal allows few trials.
        generations: after the initial one; the goal's trials and seconds may end it sooner.
        score: what is saved: MACs, params, bytes, or "latency" as the cost table predicts it, which
            knows widths only ("ps").
        search_drop: points of the metric that a candidate may lose before any training; None for
            the goal's ``max_drop``, or where it has none for 5, and 20 under bounds.
        initialization: "warm" around what each layer bears alone, or "naive": anywhere.
        importance: of channels, for "ps": "gradient" at the activations, "magnitude", or
            "reconstruction", the error that calibrate, run afterwards, cannot repair.
        p_cross: probability that neighbours are crossed.
        p_swap: that a crossed pair exchanges a coordinate.
        p_mutate: that an individual is mutated.
        p_tweak: that a mutated individual's coordinate changes.
        elite: how many of the best go on unchanged.
        least_penalty: points of the metric below which a loss counts as noise.
        val_samples: search-validation samples per candidate; 0 for all.
        recalibrate: unlabelled samples on which every candidate's batch norm statistics are
            measured anew, and the result's; 0 to leave them. Calibrate behind it starts from the
            statistics of the original in its context.
        importance_samples: training samples for "gradient" and "reconstruction".
        workers: local processes; 0 for this one.
        dask: address of a Dask scheduler, such as tcp://host:8786.
        history: file for the history of the search: a page with plots if its name ends in .html,
            else JSON lines.
        amount: what is saved instead, such as the latency: a function of a program with a plan.

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
        GoalError: if a number is out of range.
    """

    spaces: tuple[Method, ...] = ("ps", "svd", "tucker")
    population: int = 50
    generations: int = 50
    score: Literal["macs", "params", "size_bytes", "latency"] = "macs"
    search_drop: float | None = None
    initialization: Literal["warm", "naive"] = "warm"
    importance: Literal["gradient", "magnitude", "reconstruction"] = "gradient"
    p_cross: float = 0.8
    p_swap: float = 0.3
    p_mutate: float = 0.8
    p_tweak: float = 0.1
    elite: int = 0
    least_penalty: float = 0.5
    val_samples: int = 0
    recalibrate: int = 0
    importance_samples: int = 512
    workers: int = 0
    dask: str = ""
    history: str = ""
    amount: Callable[[Program], float] | None = None
    name: ClassVar[str] = "ascai"
    declares: ClassVar[Declaration] = Declaration(
        needs="labels", changes=frozenset({"keep", "zero", "rank", "weights"})
    )

    def __post_init__(self) -> None:
        if not self.spaces or set(self.spaces) - set(METHODS):
            raise GoalError(f"spaces {','.join(self.spaces)}: give some of {', '.join(METHODS)}")
        for what in ("p_cross", "p_swap", "p_mutate", "p_tweak"):
            if not 0 <= getattr(self, what) <= 1:
                raise GoalError(f"{what} {getattr(self, what):g}: a probability is from 0 to 1")
        if self.score == "latency" and self.amount is None and set(self.spaces) != {"ps"}:
            raise GoalError(
                f"score latency: the cost table predicts widths, not {','.join(self.spaces)}; "
                "search --spaces ps, or score macs"
            )
        if self.population < _FEWEST:
            raise GoalError(f"population {self.population}: at least {_FEWEST} are needed")
        if not 0 <= self.elite < self.population:
            raise GoalError(f"elite {self.elite}: must be below the population")
        for what in ("generations", "val_samples", "recalibrate", "workers"):
            if getattr(self, what) < 0:
                raise GoalError(f"{what} {getattr(self, what)}: must be 0 or more")
        if self.importance_samples < 1:
            raise GoalError(f"importance_samples {self.importance_samples}: at least 1 is needed")
        if self.least_penalty <= 0:
            raise GoalError(f"least_penalty {self.least_penalty:g}: must be above 0")
        if self.search_drop is not None and not self.search_drop >= 0:
            raise GoalError(f"search_drop {self.search_drop:g}: must be 0 or more")

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with the best plan found.

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
        context.progress(0, self.generations, "measuring importance")
        space = self.build_space(program, task, context.goal.seed)
        bounds = Bounds(context.goal.bounds, couple(program).cost(Plan()))
        bounding = Bounding(space, bounds, self._caps(context.goal))
        bounding.check()
        amount = self._choose_amount(program, context)
        with open_executor(self.workers, self.dask) as executor:
            evaluator = Evaluator(
                program,
                task,
                context.goal,
                Conditions(self.val_samples, self.recalibrate, context.goal.seed),
                executor=executor,
                work_dir=context.work_dir,
                progress=announcer.count,
            )
            original = measure_amount(program, Plan(), bounds.original, amount)
            scoring = self.make_scoring(evaluator.base, original, context)
            assessment = Assessment(space, evaluator, scoring, bounding, amount)
            start, history = self.evolve(assessment, context)
        if self.history:
            write_search(self.history, history)
        best = self._judged(assessment)
        decided = program.with_plan(space.plan_of(best.individual))
        if self.recalibrate:
            decided = with_statistics(decided, evaluator.calibration)
        notes = (*self._describe(assessment, best, history), *start.notes)
        lines = describe_ranks(decided, decided.plan.rank)
        return decided.with_line(HistoryLine(self.name, notes=(*notes, *lines)))

    def rehearsal(self) -> Pass:
        """Return a pass that goes straight to the bounds, without trying anything."""
        return ReachRehearsal(self.spaces)

    def build_space(self, program: Program, task: Task, seed: int) -> SearchSpace:
        """Return the space that is searched."""
        return build_space(program, self.spaces, self._measure_importance(program, task, seed))

    def make_scoring(self, base_metric: float, original: float, context: Context) -> Scoring:
        """Return how candidates are scored.

        Args:
            base_metric: of the original, on the samples that candidates are judged on.
            original: what the original takes of what is saved.
            context: its goal may say how much accuracy may be lost.
        """
        bounds = context.goal.bounds
        drop = self.search_drop if self.search_drop is not None else context.goal.max_drop
        if drop is None:
            drop = _BOUNDED_DROP if bounds else _DROP
        most_saved = 1.0
        if self._caps(context.goal):
            most_saved -= bounds[self.score].absolute(original) / original
        return Scoring(
            base_metric=base_metric,
            threshold=base_metric - drop,
            original=original,
            least_penalty=self.least_penalty,
            most_saved=most_saved,
        )

    def evolve(self, assessment: Assessment, context: Context) -> tuple[Start, History]:
        """Spend the budget; the assessment then knows the best individual."""
        size, trials = self.population, context.goal.trials
        if trials is not None:
            size = min(size, max(_FEWEST, trials // 5))
        start_at = start_warm if self.initialization == "warm" else start_naively
        context.progress(0, self.generations, f"{self.initialization} initialisation")
        start = start_at(assessment, size, context.rng("ascai start"))
        space = assessment.space
        evolution = Evolution(
            assessment,
            Variation(self.p_cross, self.p_swap, self.p_mutate, self.p_tweak),
            self.generations,
            min(self.elite, size - 1),
            context.rng,
            context.progress,
            History(
                search=self.name,
                coordinates=tuple(one.name for one in space.coordinates),
                ends=tuple((one.whole, one.least) for one in space.coordinates),
                base_metric=assessment.evaluator.base,
                base=dataclasses.asdict(assessment.bounding.bounds.original),
                threshold=assessment.scoring.threshold,
                settings=self._settings(),
            ),
            self._history_path(assessment, context),
        )
        return start, evolution.run(start)

    def _caps(self, goal: Goal) -> bool:
        """Return whether saving beyond the goal's bound is worth nothing."""
        return self.amount is None and self.score in goal.bounds

    def _choose_amount(self, program: Program, context: Context) -> str | Amount:
        """Return what is saved: a kind of cost, or a function of a program with a plan."""
        if self.amount is not None:
            return self.amount
        if self.score != "latency":
            return self.score
        model = predict_from_table(program, "p50", context)
        return lambda decided: model.latency_ms(model.counts_of(decided.plan))

    def _measure_importance(self, program: Program, task: Task, seed: int) -> dict[str, FloatArray]:
        if "ps" not in self.spaces:
            return {}
        if self.importance == "magnitude":
            return measure_importance(program, "l1")
        if self.importance == "reconstruction":
            batches = draw_samples(task, self.importance_samples, seed, self.name)
            return measure_reconstruction_importance(program, batches, _RIDGE, ignore_progress)
        return measure_gradient_importance(
            program, task, _first_samples(task, self.importance_samples, seed)
        )

    def _settings(self) -> dict[str, object]:
        """Return the fields that decide the result."""
        return {
            entry.name: str(value) if callable(value) else value
            for entry in dataclasses.fields(self)
            if entry.name not in _PLACES
            for value in (getattr(self, entry.name),)
        }

    def _history_path(self, assessment: Assessment, context: Context) -> Path | None:
        if context.work_dir is None:
            return None
        what = f"{assessment.evaluator.identity} {sorted(self._settings().items())} {context.goal}"
        digest = hashlib.sha256(what.encode()).hexdigest()
        return context.work_dir / f"ascai-{digest[:16]}.jsonl"

    def _judged(self, assessment: Assessment) -> Scored:
        """Return the best individual if it will do.

        Raises:
            SearchError: if it will not.
        """
        best, scoring = assessment.best, assessment.scoring
        tried = len(assessment.evaluator.trials)
        if best is None:
            raise SearchError(
                f"the budget of {assessment.evaluator.goal.trials} trials ended before the search "
                "began; raise it, or leave it out"
            )
        bounded = bool(assessment.bounding.bounds)
        if bounded or (scoring.accepts(best.trial.metric) and best.score > 0):
            return best
        raise SearchError(
            f"none of {tried} candidates saves anything and keeps the metric at "
            f"{scoring.threshold:.4g} or more; the closest has {best.trial.metric:.4g} at "
            f"{assessment.bounding.bounds.share('macs', best.trial.cost):.1%} of the MACs: raise "
            "--search-drop, spend more trials, or set --recalibrate"
        )

    def _describe(self, assessment: Assessment, best: Scored, history: History) -> tuple[str, ...]:
        trial, scoring = best.trial, assessment.scoring
        tried = len(assessment.evaluator.trials)
        rounds = len(history.generations) - 1
        notes = [
            f"best of {tried} candidates in {rounds} generations over "
            f"{len(assessment.space.coordinates)} hyper-parameters: score {best.score:.4g}, "
            f"{_shares(trial.cost, assessment.bounding.bounds)}",
            f"search-validation metric {trial.metric:.4g}, the original's {scoring.base_metric:.4g}"
            + (", with batch norm statistics measured anew" if self.recalibrate else ""),
        ]
        if not scoring.accepts(trial.metric):
            short = scoring.threshold - trial.metric
            notes.append(
                f"no candidate within the bounds keeps the metric at {scoring.threshold:.4g}; the "
                f"best is {short:.3g} short of it before training"
            )
        if self.elite:
            notes.append(f"elitism: {self.elite} of the best go on unchanged (not in the paper)")
        return tuple(notes)


def _shares(cost: Cost, bounds: Bounds) -> str:
    return (
        f"{bounds.share('macs', cost):.1%} of the MACs, {bounds.share('params', cost):.1%} of the "
        "parameters"
    )


def _first_samples(task: Task, samples: int, seed: int) -> Iterator[Batch]:
    """Yield training batches until there are enough samples."""
    seen = 0
    for inputs, targets in islice(task.train_batches(0, seed), samples):
        yield inputs, targets
        seen += len(inputs[0])
        if seen >= samples:
            return
