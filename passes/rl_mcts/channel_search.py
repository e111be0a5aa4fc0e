"""The search: segment after segment, iterations of self-play and learning in each."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import ceil, inf

import numpy as np

from compressc.array_types import BoolArray, FloatArray
from compressc.contract.context import Context
from compressc.passes.rl_mcts.arena import Arena, Champion, SearchOverError
from compressc.passes.rl_mcts.foresight import Foresight
from compressc.passes.rl_mcts.learner import Learner
from compressc.passes.rl_mcts.preparation import Prepared
from compressc.passes.rl_mcts.pruning_game import Position, PruningGame
from compressc.passes.rl_mcts.retrained_arena import Retraining
from compressc.passes.rl_mcts.self_play import PlayedGame, SelfPlay
from compressc.passes.rl_mcts.settings import Lookahead
from compressc.passes.rl_mcts.standing import Saved, Standing, save_standing
from compressc.search.history import Iteration
from compressc.store.store import Store

# How often the spread of a guide doubles at most.
_WIDEST = 4


@dataclass(frozen=True, eq=False)
class Ground:
    """What does not change during a search.

    Attributes:
        prepared: units, features, guide, and the way to the goal.
        segments: in how many steps it is gone.
        rule: how to look ahead.
        context: gives random numbers and takes progress.
        store: where the standing is kept, or None.
        keeps_network: whether the network is of use when the search is over.
    """

    prepared: Prepared
    segments: int
    rule: Lookahead
    context: Context
    store: Store | None
    keeps_network: bool = False

    def game_of(self, segment: int) -> PruningGame:
        """Return the game of a segment, from 0."""
        route = self.prepared.route
        aim = route.aim_at((segment + 1) / self.segments)
        return PruningGame(route.units, aim, self.prepared.allowed, self.rule.units_per_move)

    def play_by_guide(self, segment: int, kept: BoolArray) -> Position | None:
        """Return what the guide comes to, a unit at a time; None without a guide.

        Args:
            segment: whose aim ends the game, from 0.
            kept: units that are left at the beginning, shape (units,).
        """
        route, worth = self.prepared.route, self.prepared.guide.worth
        if worth is None:
            return None
        aim = route.aim_at((segment + 1) / self.segments)
        game = PruningGame(route.units, aim, self.prepared.allowed)
        return game.play_in_order(game.position(kept), worth)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a search came to.

    Attributes:
        kept: units that are left, shape (units,).
        champion: the judged end that this is; None where the time was up before one met the goal.
        standing: at the end.
        simulations: in all iterations of this process.
    """

    kept: BoolArray
    champion: Champion | None
    standing: Standing
    simulations: int


class ChannelSearch:
    """One run of the search.

    Attributes:
        arena: judges; another one after every training between segments.
        foresight: expects.
        learner: learns.
        simulations: so far.

    Args:
        ground: what does not change.
        arena, learner: as they are where the search begins or goes on.
        retraining: trains between segments; None to go on with the network as it was cut.
    """

    def __init__(
        self, ground: Ground, arena: Arena, learner: Learner, retraining: Retraining | None = None
    ) -> None:
        self._ground, self.arena, self.learner = ground, arena, learner
        self._retraining = retraining
        self.foresight = Foresight(learner.network, learner.sheets[-1])
        self.simulations = 0
        self._evaluated_before = 0.0
        self._started = time.perf_counter()

    @property
    def evaluation_seconds(self) -> float:
        """Wall time spent in judging candidates, those of earlier segments included."""
        return self._evaluated_before + self.arena.evaluator.seconds

    def run(self, standing: Standing) -> Outcome:
        """Go all segments; each begins where the best end of the one before it is.

        Args:
            standing: where the search begins, or where an earlier run was.

        Raises:
            ExecutorError: if workers are lost again and again.
            OutputError: if the work directory cannot be written.
        """
        champion = standing.best
        kept = standing.root if champion is None else champion.kept
        while standing.segment < self._ground.segments:
            game = self._ground.game_of(standing.segment)
            if not game.is_over(game.position(standing.root)):
                standing, is_late = self._search_segment(game, standing)
                champion = self.arena.best
                kept = standing.root if champion is None else champion.kept
                if is_late or champion is None:
                    return self._break_off(kept, champion, standing)
            standing = self._enter_next(standing, kept, champion)
        return Outcome(kept, champion, standing, self.simulations)

    def list_finalists(self, count: int) -> list[Champion]:
        """Return the best candidates that meet the goal, and what the guide alone comes to."""
        ground = self._ground
        game = ground.game_of(ground.segments - 1)
        best = self.arena.list_best(game, count)
        end = ground.play_by_guide(ground.segments - 1, ground.prepared.route.units.everything)
        ruled = None if end is None else self.arena.find_judged(end)
        return best if ruled is None or ruled in best else [*best, ruled]

    def _search_segment(self, game: PruningGame, standing: Standing) -> tuple[Standing, bool]:
        """Play iterations until the segment ends; return where it is, and whether time is up."""
        self.arena.open_segment(self._limit(standing), standing.baseline, standing.best)
        sheet = len(self.learner.sheets) - 1
        play = SelfPlay(game, self.arena, self.foresight, self._ground.rule, sheet)
        root, rule = game.position(standing.root), self._ground.rule
        try:
            if standing.best is None:
                self._judge_rules(play, root, standing.segment)
                standing = self._keep(self._with_arena(standing))
            while standing.iteration < rule.iterations and standing.failures < rule.patience:
                if self.arena.is_spent:
                    break
                standing = self._iterate(play, root, standing)
        except SearchOverError:
            return standing, True
        return standing, False

    def _limit(self, standing: Standing) -> int | None:
        """Return how many candidates may be judged when the segment ends: an even share."""
        trials = self.arena.evaluator.goal.trials
        if trials is None:
            return None
        left = self._ground.segments - standing.segment
        return standing.charged + ceil((trials - standing.charged) / left)

    def _judge_rules(self, play: SelfPlay, root: Position, segment: int) -> None:
        """Judge what rules come to without any search; the best of them is the first baseline."""
        ground = self._ground
        ends: list[Position | None] = []
        ends.append(ground.play_by_guide(segment, root.kept))
        if segment == ground.segments - 1 and self._retraining is None:
            ends.append(ground.play_by_guide(segment, ground.prepared.route.units.everything))
        if self.learner.is_trained:
            ends.append(play.play_alone(root, ground.prepared.guide.logits()))
        rng = ground.context.rng(f"rl-mcts baseline {segment}")
        ends.append(play.game.play_at_random(root, rng))
        judged = self.arena.judge([end for end in ends if end is not None])
        scores = [score for score in judged if score is not None]
        self.arena.baseline = max(scores, default=-inf)

    def _iterate(self, play: SelfPlay, root: Position, standing: Standing) -> Standing:
        rng = self._ground.context.rng(
            f"rl-mcts segment {standing.segment} iteration {standing.iteration}"
        )

        def tell(count: int) -> None:
            self.simulations += count
            self._tell(standing)

        games = play.play(root, self._draw_guides(rng), rng, tell)
        best = max((game.score for game in games), default=-inf)
        is_last = standing.segment == self._ground.segments - 1 and self.arena.is_spent
        if not is_last or self._ground.keeps_network:
            lessons = [lesson for game in games for lesson in game.lessons]
            self.learner.learn(lessons, rng)
        is_better = best > self.arena.baseline
        self.arena.baseline = max(self.arena.baseline, best)
        standing = replace(
            self._with_arena(standing),
            iteration=standing.iteration + 1,
            iterations=standing.iterations + 1,
            failures=0 if is_better else standing.failures + 1,
        )
        self._record(standing, games)
        return self._keep(standing)

    def _draw_guides(self, rng: np.random.Generator) -> list[FloatArray]:
        """Return the guide of each game: near the best so far first, then farther and farther."""
        prepared, rule = self._ground.prepared, self._ground.rule
        best = None if self.arena.best is None else self.arena.best.kept
        groups = len(prepared.route.units.groups)
        return [
            prepared.guide.logits(
                best,
                number * rule.wander * rng.standard_normal(groups),
                2.0 ** min(number, _WIDEST),
            )
            for number in range(rule.self_plays)
        ]

    def _with_arena(self, standing: Standing) -> Standing:
        return replace(standing, baseline=self.arena.baseline, best=self.arena.best)

    def _record(self, standing: Standing, games: list[PlayedGame]) -> None:
        best = self.arena.best
        assert best is not None
        errors = [
            (expected - lesson.worth) ** 2
            for game in games
            for expected, lesson in zip(game.expected, game.lessons, strict=True)
        ]
        event = Iteration(
            standing.iterations,
            standing.segment + 1,
            len(self.arena.recorder.history.trials),
            self.arena.baseline,
            best.score,
            float(np.mean(errors)) if errors else 0.0,
            self._ground.prepared.route.units.removed_shares(best.kept),
        )
        self.arena.recorder.add(event)

    def _enter_next(
        self, standing: Standing, kept: BoolArray, champion: Champion | None
    ) -> Standing:
        """Return the beginning of the next segment; what is left is trained first where asked.

        Behind the last segment the champion is the answer.
        """
        first_event = standing.first_event
        if self._retraining is not None:
            self._evaluated_before += self.arena.evaluator.seconds
            self.arena, sheet = self._retraining.advance(kept, self.arena)
            self.learner.sheets.append(sheet)
            self.foresight.sheet = sheet
            first_event = len(self.arena.recorder.history.events)
        following = Standing(
            standing.segment + 1,
            0,
            0,
            kept,
            -inf,
            champion if standing.segment + 1 == self._ground.segments else None,
            iterations=standing.iterations,
            charged=self.arena.evaluator.spent,
            first_event=first_event,
        )
        return self._keep(following)

    def _keep(self, standing: Standing) -> Standing:
        """Put the search on disk; return where it is."""
        standing = replace(standing, events=len(self.arena.recorder.history.events))
        if self._ground.store is not None:
            retrained = {} if self._retraining is None else self._retraining.state()
            save_standing(self._ground.store, Saved(standing, self.learner.state(), retrained))
        return standing

    def _break_off(self, kept: BoolArray, champion: Champion | None, standing: Standing) -> Outcome:
        """Go the rest of the way by the network alone: nothing more can be judged."""
        last = self._ground.game_of(self._ground.segments - 1)
        position = last.position(kept)
        if last.is_over(position):
            return Outcome(kept, champion, standing, self.simulations)
        play = SelfPlay(last, self.arena, self.foresight, self._ground.rule)
        end = play.play_alone(position, self._ground.prepared.guide.logits(kept))
        return Outcome(end.kept, None, standing, self.simulations)

    def _tell(self, standing: Standing) -> None:
        ground, evaluator = self._ground, self.arena.evaluator
        speed = self.simulations / max(1e-9, time.perf_counter() - self._started)
        text = (
            f"segment {standing.segment + 1}/{ground.segments}, iteration "
            f"{standing.iteration + 1}: baseline {self.arena.baseline:+.4g}, "
            f"{speed:.0f} simulations/s"
        )
        if ground.context.goal.trials is None:
            ground.context.progress(standing.segment, ground.segments, text)
        else:
            trials = ground.context.goal.trials
            ground.context.progress(min(trials, evaluator.spent), trials, text)
