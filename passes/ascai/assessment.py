"""Assessment: points of the search space in, scored points out, and the best of them kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compressc.array_types import FloatArray
from compressc.passes.ascai.pricing import Price
from compressc.passes.ascai.scoring import Scoring
from compressc.passes.spaces.bounding import Bounding
from compressc.passes.spaces.coordinates import Point
from compressc.passes.spaces.search_space import SearchSpace
from compressc.plan import Plan
from compressc.search.evaluation import Evaluator
from compressc.search.history import ScoredPoint
from compressc.search.history_file import Recorder
from compressc.search.trials import Trial


class Assessment:
    """Evaluates points of one space, records their trials, and remembers the best.

    Attributes:
        space, evaluator, scoring, bounding, price, recorder: what it puts together.
        best: the best point so far that meets the bounds; accurate ones come before all others.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: Evaluator,
        scoring: Scoring,
        bounding: Bounding,
        price: Price,
        recorder: Recorder,
    ) -> None:
        self.space, self.evaluator = space, evaluator
        self.scoring, self.bounding = scoring, bounding
        self.price, self.recorder = price, recorder
        self.best: ScoredPoint | None = None
        # Price of every trial by the digest of its plan.
        self._prices: dict[str, float] = {}
        # Plans that no point of the space stands for, by digest.
        self._proposed: dict[str, Plan] = {}
        # Points that meet the bounds, by digest.
        self._within: dict[str, ScoredPoint] = {}

    def assess(self, values: FloatArray, bounded: bool = True) -> list[ScoredPoint]:
        """Return the points that the budget allows, in order, scored.

        Args:
            values: shape (points, coordinates).
            bounded: whether they must meet the bounds; otherwise they cannot become the best.
        """
        if bounded:
            values = self.bounding.enforce(values)
        points = [self.space.point(row) for row in values]
        plans = [self.space.plan_of(point) for point in points]
        trials = self.evaluator.evaluate(plans, [point.values for point in points])
        assessed = []
        for point, plan, trial in zip(points, plans, trials, strict=True):
            if trial is None:
                continue
            scored = ScoredPoint(point.values, trial, self._score(plan, trial))
            assessed.append(scored)
            if bounded or not self.bounding.bounds:
                self._compare(scored)
        return assessed

    def propose(self, plan: Plan) -> ScoredPoint | None:
        """Return the point with the widths of a plan, scored by the plan itself.

        Args:
            plan: within the bounds.

        Returns:
            None where the budget does not allow it.
        """
        point = self.space.point_of_widths(plan.keep)
        trial = self.evaluator.evaluate([plan], [point.values])[0]
        if trial is None:
            return None
        self._proposed[trial.digest] = plan
        scored = ScoredPoint(point.values, trial, self._score(plan, trial))
        self._compare(scored)
        return scored

    def plan_of(self, scored: ScoredPoint) -> Plan:
        """Return the plan that was judged."""
        proposed = self._proposed.get(scored.trial.digest)
        return proposed or self.space.plan_of(Point(scored.point))

    def _score(self, plan: Plan, trial: Trial) -> float:
        if trial.digest not in self._prices:
            self._prices[trial.digest] = self.price(plan, trial.cost)
            self.recorder.add(trial)
        return self.scoring.score(self._prices[trial.digest], trial.metric)

    def list_best(self, count: int) -> list[ScoredPoint]:
        """Return the best points within the bounds, the best first, and all that were proposed."""
        best = sorted(self._within.values(), key=self.rank, reverse=True)[:count]
        known = {scored.trial.digest for scored in best}
        proposed = [self._within[digest] for digest in self._proposed if digest not in known]
        return [*best, *proposed]

    def with_metric(self, scored: ScoredPoint, metric: float) -> ScoredPoint:
        """Return a point scored anew, by a metric that was measured otherwise."""
        trial = replace(scored.trial, metric=metric)
        score = self.scoring.score(self._prices[trial.digest], metric)
        return ScoredPoint(scored.point, trial, score)

    def rank(self, scored: ScoredPoint) -> tuple[bool, float]:
        """Return what a better point has more of: accurate ones come before all others."""
        return self.scoring.accepts(scored.trial.metric), scored.score

    def _compare(self, scored: ScoredPoint) -> None:
        self._within.setdefault(scored.trial.digest, scored)
        if self.best is None or self.rank(scored) > self.rank(self.best):
            self.best = scored


def as_matrix(population: Sequence[ScoredPoint]) -> FloatArray:
    """Return the values of a population, shape (points, coordinates)."""
    return np.array([scored.point for scored in population])
