"""Assessment: vectors in, scored individuals out, and the best of them kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compressc.array_types import FloatArray
from compressc.costs import Cost
from compressc.passes.ascai.bounding import Bounding
from compressc.passes.ascai.scoring import Scoring
from compressc.passes.ascai.space import Individual, SearchSpace
from compressc.plan import Plan
from compressc.program import Program
from compressc.search.evaluation import Evaluator
from compressc.search.trials import Trial

Amount = Callable[[Program], float]


@dataclass(frozen=True)
class Scored:
    """An evaluated individual."""

    individual: Individual
    trial: Trial
    score: float


class Assessment:
    """Evaluates individuals of one space and remembers the best.

    Attributes:
        space, evaluator, scoring, bounding: what it puts together.
        best: the best individual so far that meets the bounds, accurate ones before all others.
        closest: the most accurate one below the threshold, for the error where none is above.

    Args:
        amount: what is saved: "macs", "params", "size_bytes", or a function of the program with a
            plan, such as its latency.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: Evaluator,
        scoring: Scoring,
        bounding: Bounding,
        amount: str | Amount,
    ) -> None:
        self.space, self.evaluator = space, evaluator
        self.scoring, self.bounding = scoring, bounding
        self.best: Scored | None = None
        self._amount = amount
        self._amounts: dict[str, float] = {}

    def assess(self, population: FloatArray, bounded: bool = True) -> list[Scored]:
        """Return the individuals that the budget allows, in order, scored.

        Args:
            population: shape (individuals, coordinates).
            bounded: whether they must meet the bounds; otherwise they cannot become the best.
        """
        if bounded:
            population = self.bounding.enforce(population)
        individuals = [self.space.individual(values) for values in population]
        plans = [self.space.plan_of(one) for one in individuals]
        found = []
        for one, plan, trial in zip(
            individuals, plans, self.evaluator.evaluate(plans), strict=True
        ):
            if trial is not None:
                scored = Scored(one, trial, self.score(plan, trial))
                found.append(scored)
                if bounded or not self.bounding.bounds:
                    self._compare(scored)
        return found

    def score(self, plan: Plan, trial: Trial) -> float:
        """Return the score of an evaluated plan."""
        if trial.digest not in self._amounts:
            self._amounts[trial.digest] = measure_amount(
                self.space.program, plan, trial.cost, self._amount
            )
        return self.scoring.score(self._amounts[trial.digest], trial.metric)

    def _compare(self, scored: Scored) -> None:
        def order(one: Scored) -> tuple[bool, float]:
            return self.scoring.accepts(one.trial.metric), one.score

        if self.best is None or order(scored) > order(self.best):
            self.best = scored


def measure_amount(program: Program, plan: Plan, cost: Cost, amount: str | Amount) -> float:
    """Return what a plan of some cost takes in the unit that the score counts."""
    if callable(amount):
        return float(amount(program.with_plan(plan)))
    return float(getattr(cost, amount))


def as_matrix(population: tuple[Scored, ...]) -> FloatArray:
    """Return the vectors of a population, shape (individuals, coordinates)."""
    return np.array([one.individual.values for one in population])
