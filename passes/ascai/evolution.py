"""Evolution: generation after generation, until the budget is spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compressc.array_types import FloatArray
from compressc.clock import ProgressCallback
from compressc.passes.ascai.assessment import Assessment, Scored, as_matrix
from compressc.passes.ascai.variation import Variation
from compressc.passes.ascai.warm_start import Start
from compressc.search.history import Candidate, Generation, History, write_history

# Generations without a single new plan after which the search has converged.
_IDLE = 20


@dataclass(frozen=True, eq=False)
class Evolution:
    """One run of the genetic algorithm.

    Attributes:
        assessment: scores individuals.
        variation: makes the next population.
        generations: how many after the initial one.
        elite: how many of the best go on unchanged; none in the paper.
        rng: a generator of random numbers for a named use.
        progress: called with (done, total, text) after every generation.
        history: what is known before the search.
        path: where the history goes after every generation, or None.
    """

    assessment: Assessment
    variation: Variation
    generations: int
    elite: int
    rng: Callable[[str], np.random.Generator]
    progress: ProgressCallback
    history: History
    path: Path | None

    def run(self, start: Start) -> History:
        """Return the history of the whole search; the assessment has the best individual.

        Every generation has a random stream of its own, so that a search that goes on from its
        journal of trials does what it would have done.
        """
        population = start.population
        history = self._recorded(self.history, population)
        for number in range(1, self.generations + 1):
            if self.assessment.evaluator.is_spent or not population or _has_converged(history):
                break
            rng = self.rng(f"ascai generation {number}")
            bred = self._breed(population, rng)
            found = tuple(self.assessment.assess(bred))
            if not found:
                break
            history = self._recorded(history, found)
            if len(found) < len(bred):
                break
            population = found
        return history

    def _breed(self, population: tuple[Scored, ...], rng: np.random.Generator) -> FloatArray:
        parents = as_matrix(population)
        scores = np.array([one.score for one in population])
        bred = self.variation.breed(self.assessment.space, parents, scores, rng)
        if self.elite:
            bred[: self.elite] = parents[np.argsort(-scores, kind="stable")[: self.elite]]
        return bred

    def _recorded(self, history: History, population: tuple[Scored, ...]) -> History:
        number = len(history.generations)
        entries = tuple(_candidate(one) for one in population)
        trials = len(self.assessment.evaluator.trials)
        history = replace(
            history, generations=(*history.generations, Generation(number, trials, entries))
        )
        if self.path is not None:
            write_history(self.path, history)
        self.progress(number, self.generations, self._describe(history))
        return history

    def _describe(self, history: History) -> str:
        best, number = self.assessment.best, len(history.generations) - 1
        text = f"generation {number}/{self.generations}"
        if best is None:
            return text
        left = best.trial.cost.macs / history.base["macs"]
        points = history.front()
        front = ", ".join(f"{share:.0%}: {metric:.4g}" for share, metric in _spread(points))
        return (
            f"{text}: best score {best.score:.4g} ({left:.1%} of the MACs, metric "
            f"{best.trial.metric:.4g}); front of {len(points)}: {front}"
        )


def _has_converged(history: History) -> bool:
    recent = history.generations[-1 - _IDLE :]
    return len(recent) > _IDLE and recent[0].trials == recent[-1].trials


def _spread(front: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Return at most three points of a front: both ends and the middle."""
    places = sorted({0, len(front) // 2, len(front) - 1})
    return [front[place] for place in places] if front else []


def _candidate(one: Scored) -> Candidate:
    cost = one.trial.cost
    return Candidate(
        one.individual.values,
        one.trial.digest,
        one.trial.metric,
        cost.macs,
        cost.params,
        cost.size_bytes,
        one.score,
    )
