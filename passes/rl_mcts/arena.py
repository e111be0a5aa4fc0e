"""The arena: ends of games are judged here, against a baseline and within a budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from compressc.array_types import BoolArray
from compressc.passes.rl_mcts.criteria import Standard
from compressc.passes.rl_mcts.prunable_units import PrunableUnits
from compressc.passes.rl_mcts.pruning_game import Position, PruningGame
from compressc.search.evaluation import Evaluator
from compressc.search.history_file import Recorder
from compressc.search.trials import Trial


class SearchOverError(Exception):
    """The time is up; never leaves the pass."""


@dataclass(frozen=True, eq=False)
class Champion:
    """The best end of a game so far.

    Attributes:
        kept: units that are left, shape (units,).
        trial: of its plan.
        score: what the search maximises.
    """

    kept: BoolArray
    trial: Trial
    score: float


class Arena:
    """Judges positions, remembers the best, and knows what is left of a segment's trials.

    Attributes:
        units: of the network.
        evaluator: judges plans.
        standard: what a metric is worth.
        baseline: the score that has to be beaten.
        best: of the current segment, or None.
        recorder: gets every trial once.

    Args:
        units, evaluator, standard, recorder: what it puts together.
    """

    def __init__(
        self,
        units: PrunableUnits,
        evaluator: Evaluator,
        standard: Standard,
        recorder: Recorder,
    ) -> None:
        self.units, self.evaluator = units, evaluator
        self.standard, self.recorder = standard, recorder
        self.baseline = -inf
        self.best: Champion | None = None
        self._limit: int | None = None
        self._ends_left = 0
        self._recorded: set[str] = set()
        self._known: dict[bytes, Champion] = {}

    def open_segment(self, limit: int | None, baseline: float, best: Champion | None) -> None:
        """Begin a segment, or go on with one.

        Args:
            limit: candidates that the evaluator may have judged when it ends; None for any number.
            baseline: the score to beat.
            best: so far.
        """
        self._limit, self.baseline, self.best = limit, baseline, best

    @property
    def is_spent(self) -> bool:
        """Whether the segment may judge no more candidate."""
        return self._limit is not None and self.evaluator.spent >= self._limit

    def judge(self, positions: Sequence[Position]) -> list[float | None]:
        """Return the score of each position, None where the budget does not allow it.

        Args:
            positions: ends of games; one that was judged before costs nothing.

        Raises:
            SearchOverError: if the time is up.
            ExecutorError: if workers are lost again and again.
        """
        return self._judge(positions, 0, None)

    def _judge(
        self, positions: Sequence[Position], reserve: int, most: int | None
    ) -> list[float | None]:
        """Return scores, at most ``most`` of them new, with ``reserve`` candidates kept."""
        keys = [position.kept.tobytes() for position in positions]
        fresh = {
            key: position
            for key, position in zip(keys, positions, strict=True)
            if key not in self._known
        }
        if self._limit is not None:
            room = max(0, self._limit - reserve - self.evaluator.spent)
            most = room if most is None else min(room, most)
        if most is not None:
            fresh = dict(list(fresh.items())[:most])
        if fresh:
            self._evaluate(fresh)
        judged = [self._known.get(key) for key in keys]
        for champion in judged:
            if champion is not None and (self.best is None or champion.score > self.best.score):
                self.best = champion
        return [None if champion is None else champion.score for champion in judged]

    def limit_ends(self, count: int) -> None:
        """Let simulations have so many candidates judged from now on."""
        self._ends_left = count

    def judge_simulated(self, positions: Sequence[Position], reserve: int) -> list[float | None]:
        """Return the score of ends of simulations, None where their limit is reached.

        Args:
            positions: ends; one that was judged before costs nothing.
            reserve: candidates of the segment that are kept for the ends of games.

        Raises:
            SearchOverError: if the time is up.
            ExecutorError: if workers are lost again and again.
        """
        before = len(self._known)
        scores = self._judge(positions, reserve, self._ends_left)
        self._ends_left -= len(self._known) - before
        return scores

    def worth(self, score: float) -> float:
        """Return the worth of an end: 1 where it beats the baseline, else -1."""
        return 1.0 if score > self.baseline else -1.0

    def list_best(self, game: PruningGame, count: int) -> list[Champion]:
        """Return the best candidates that were judged and end a game, the best first."""
        ends = [c for c in self._known.values() if game.is_over(game.position(c.kept))]
        return sorted(ends, key=lambda champion: -champion.score)[:count]

    def find_judged(self, position: Position) -> Champion | None:
        """Return what a position was judged to be, None where it was not."""
        return self._known.get(position.kept.tobytes())

    def recall(self, trials: Iterable[Trial]) -> None:
        """Ask again for what an earlier run was answered: it is charged for, and known.

        Args:
            trials: of this search, with their points; the recorder has them.
        """
        for trial in trials:
            kept = restore_kept(self.units, trial.point)
            self._recorded.add(trial.digest)
            self.judge([Position(kept, self.units.counts(kept))])

    def _evaluate(self, fresh: dict[bytes, Position]) -> None:
        plans = [self.units.plan_of(position.kept) for position in fresh.values()]
        points = [removed_units(position.kept) for position in fresh.values()]
        trials = self.evaluator.evaluate(plans, points)
        for (key, position), trial in zip(fresh.items(), trials, strict=True):
            if trial is None:
                raise SearchOverError
            score = self.standard.score(trial.metric)
            self._known[key] = Champion(position.kept, trial, score)
            if trial.digest not in self._recorded:
                self._recorded.add(trial.digest)
                self.recorder.add(trial)


def removed_units(kept: BoolArray) -> tuple[float, ...]:
    """Return the point of a plan: the units that left, by their place in the line."""
    return tuple(float(place) for place in (~kept).nonzero()[0])


def restore_kept(units: PrunableUnits, point: Sequence[float]) -> BoolArray:
    """Return which units a point keeps, shape (units,)."""
    kept = units.everything
    kept[[int(place) for place in point]] = False
    return kept
