"""Evolution: generation after generation, until the budget is spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compressc.array_types import FloatArray
from compressc.clock import ProgressCallback
from compressc.passes.ascai.assessment import Assessment, as_matrix
from compressc.passes.ascai.breeding import Breeding
from compressc.passes.ascai.proposals import Proposal
from compressc.passes.ascai.warm_start import Start, start_naively, start_warm
from compressc.search.history import Generation, History, Note, ScoredPoint

# Generations without a single new plan after which the search has converged.
_IDLE = 20


@dataclass(frozen=True, eq=False)
class Evolution:
    """One run of the genetic algorithm.

    Attributes:
        assessment: scores individuals, records them, and knows the best afterwards.
        breeding: how a population begins and evolves.
        rng: gives a generator of random numbers for a named use.
        progress: called with (done, total, text) after every generation.
        proposals: plans that are judged first, and whose widths join a warm start.
    """

    assessment: Assessment
    breeding: Breeding
    rng: Callable[[str], np.random.Generator]
    progress: ProgressCallback
    proposals: Sequence[Proposal] = ()

    def run(self) -> History:
        """Spend the budget, and return the history of the whole search.

        Every generation has a random stream of its own, so that a search that goes on from its
        journal of trials does what it would have done.
        """
        start = self._start()
        for text in start.notes:
            self.assessment.recorder.add(Note(text))
        population: Sequence[ScoredPoint] = start.population
        self._record(population)
        for number in range(1, self.breeding.generations + 1):
            if self.assessment.evaluator.is_spent or not population or self._has_converged():
                break
            bred = self._breed(population, self.rng(f"ascai generation {number}"))
            assessed = self.assessment.assess(bred)
            if not assessed:
                break
            self._record(assessed)
            if len(assessed) < len(bred):
                break
            population = assessed
        return self._history

    @property
    def _history(self) -> History:
        return self.assessment.recorder.history

    @property
    def _size(self) -> int:
        return self.breeding.size_within(self.assessment.evaluator.goal.trials)

    def _start(self) -> Start:
        proposed = [self.assessment.propose(proposal.plan) for proposal in self.proposals]
        seeds = [scored for scored in proposed if scored is not None]
        kind = self.breeding.initialization
        self.progress(0, self.breeding.generations, f"{kind} initialisation")
        start_at = start_warm if kind == "warm" else start_naively
        start = start_at(self.assessment, self._size, self.rng("ascai start"))
        drawn = start.population[: max(1, self._size - len(seeds))]
        notes = tuple(
            f"{proposal.source} proposes a plan of metric {scored.trial.metric:.4g}"
            for proposal, scored in zip(self.proposals, proposed, strict=True)
            if scored is not None
        )
        return replace(start, population=(*drawn, *seeds), notes=(*start.notes, *notes))

    def _breed(self, population: Sequence[ScoredPoint], rng: np.random.Generator) -> FloatArray:
        parents = as_matrix(population)
        scores = np.array([scored.score for scored in population])
        bred = self.breeding.variation.breed(self.assessment.space, parents, scores, rng)
        elite = min(self.breeding.elite, self._size - 1)
        if elite:
            bred[:elite] = parents[np.argsort(-scores, kind="stable")[:elite]]
        return bred

    def _record(self, population: Sequence[ScoredPoint]) -> None:
        number = len(self._history.generations)
        spent = self.assessment.evaluator.spent
        self.assessment.recorder.add(Generation(number, spent, tuple(population)))
        self.progress(number, self.breeding.generations, self._describe())

    def _has_converged(self) -> bool:
        recent = self._history.generations[-1 - _IDLE :]
        return len(recent) > _IDLE and recent[0].trials == recent[-1].trials

    def _describe(self) -> str:
        best, number = self.assessment.best, len(self._history.generations) - 1
        text = f"generation {number}/{self.breeding.generations}"
        if best is None:
            return text
        left = self.assessment.bounding.bounds.share("macs", best.trial.cost)
        points = self._history.front()
        front = ", ".join(f"{share:.0%}: {metric:.4g}" for share, metric in _spread(points))
        return (
            f"{text}: best score {best.score:.4g} ({left:.1%} of the MACs, metric "
            f"{best.trial.metric:.4g}); front of {len(points)}: {front}"
        )


def _spread(front: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Return at most three points of a front: both ends and the middle."""
    places = sorted({0, len(front) // 2, len(front) - 1})
    return [front[place] for place in places] if front else []
