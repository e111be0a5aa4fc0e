"""Self-play: games in which a tree search chooses every move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from compressc.array_types import FloatArray
from compressc.passes.rl_mcts.arena import Arena
from compressc.passes.rl_mcts.foresight import Foresight
from compressc.passes.rl_mcts.pruning_game import Position, PruningGame
from compressc.passes.rl_mcts.replay import Lesson
from compressc.passes.rl_mcts.settings import Lookahead
from compressc.passes.rl_mcts.tree import (
    Expand,
    Outlook,
    Tree,
    add_node,
    back_up,
    search,
    select_by_bound,
    stir_prior,
    visit_shares,
)

# Concentration of the Dirichlet noise, shared out among the legal units (AlphaZero: 10 / actions).
_CONCENTRATION = 10.0


@dataclass(frozen=True, eq=False)
class PlayedGame:
    """A game that is over.

    Attributes:
        lessons: one per move, worth what the end is.
        end: the last position.
        score: of the end.
        expected: worth that the network expected of each position, shape (moves,).
    """

    lessons: tuple[Lesson, ...]
    end: Position
    score: float
    expected: tuple[float, ...]


@dataclass(eq=False)
class _Table:
    """A game that is being played."""

    position: Position
    guide: FloatArray
    trees: list[Tree]
    lessons: list[Lesson] = field(default_factory=list)
    expected: list[float] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class SelfPlay:
    """Plays games of one segment.

    Attributes:
        game: the rules.
        arena: judges ends.
        foresight: expects.
        rule: how far to look ahead.
        sheet: number of the features, for the lessons.
    """

    game: PruningGame
    arena: Arena
    foresight: Foresight
    rule: Lookahead
    sheet: int = 0

    def play(
        self,
        root: Position,
        guides: Sequence[FloatArray],
        rng: np.random.Generator,
        tell: Callable[[int], None],
    ) -> list[PlayedGame]:
        """Play some games at once, move by move, until all are over.

        All trees of all games descend together, so that their leaves are one batch of the network
        and the ends that they come to are judged side by side.

        Args:
            root: where every game begins.
            guides: logits added to the policy's, one for each game, shape (units,).
            rng: stirs priors and draws moves.
            tell: called with the simulations of each step.

        Raises:
            SearchOverError: if the time is up.
        """
        self.foresight.forget()
        # Positions of earlier games are not needed any more.
        root = self.game.position(root.kept)
        self.arena.limit_ends(self.rule.self_plays * self.rule.ends_per_game)
        tables = [_Table(root, guide, [{} for _ in range(self.rule.trees)]) for guide in guides]
        select = select_by_bound(self.rule.exploration)
        while active := [table for table in tables if not self.game.is_over(table.position)]:
            self._open_roots(active, rng)
            trees = [tree for table in active for tree in table.trees]
            roots = [table.position for table in active for _ in table.trees]
            expand = self._expand_with([table.guide for table in active for _ in table.trees])
            search(trees, roots, self.game, expand, select, back_up, self.rule.simulations)
            tell(self.rule.simulations * len(trees))
            for table in active:
                self._move(table, rng)
        return self._finish(tables)

    def play_alone(self, root: Position, guide: FloatArray) -> Position:
        """Return the end of the game in which the network's likeliest unit always leaves.

        Args:
            root: where it begins.
            guide: logits added to the policy's, shape (units,).
        """
        position = root
        while not self.game.is_over(position):
            (outlook,), _ = self.foresight.look(self.game, [position], [guide])
            assert outlook.prior is not None
            position = self.game.step(position, int(np.argmax(outlook.prior)))
        return position

    def _open_roots(self, tables: Sequence[_Table], rng: np.random.Generator) -> None:
        """Put roots into their trees, each with noise of its own in its prior."""
        positions = [table.position for table in tables]
        guides = [table.guide for table in tables]
        outlooks, _ = self.foresight.look(self.game, positions, guides)
        for table, outlook in zip(tables, outlooks, strict=True):
            assert outlook.prior is not None
            table.expected.append(outlook.worth)
            key, legal = self.game.key(table.position), self.game.legal(table.position)
            for tree in table.trees:
                if key not in tree:
                    add_node(tree, key, outlook)
                noise = rng.dirichlet(np.full(legal.sum(), _CONCENTRATION / legal.sum()))
                stir_prior(tree[key], legal, noise, self.rule.root_noise)

    def _expand_with(self, guides: Sequence[FloatArray]) -> Expand[Position]:
        """Return what expands one leaf for each guide."""
        return lambda positions: self._expand(positions, guides)

    def _expand(self, positions: Sequence[Position], guides: Sequence[FloatArray]) -> list[Outlook]:
        """Return the outlook of leaves: judged where the game is over, else expected."""
        over = [self.game.is_over(position) for position in positions]
        ends = [p for p, is_end in zip(positions, over, strict=True) if is_end]
        rest = [p for p, is_end in zip(positions, over, strict=True) if not is_end]
        # The end of every game is judged, whatever the simulations before it came to.
        scores = self.arena.judge_simulated(ends, reserve=self.rule.self_plays)
        unknown = [p for p, score in zip(ends, scores, strict=True) if score is None]
        open_guides = [g for g, is_end in zip(guides, over, strict=True) if not is_end]
        looks, guesses = self.foresight.look(self.game, rest, open_guides, unknown)
        guessed, outlooks = iter(guesses), iter(looks)
        worths = iter(
            [next(guessed) if score is None else self.arena.worth(score) for score in scores]
        )
        return [Outlook(None, next(worths)) if is_end else next(outlooks) for is_end in over]

    def _move(self, table: _Table, rng: np.random.Generator) -> None:
        key, legal = self.game.key(table.position), self.game.legal(table.position)
        visits = np.sum([tree[key].visits for tree in table.trees], axis=0)
        shares = visit_shares(np.where(legal, visits, 0), self.rule.temperature)
        guide, share = table.guide.astype(np.float32), shares.astype(np.float32)
        lesson = Lesson(table.position.kept, legal, guide, share, 0.0, self.sheet)
        table.lessons.append(lesson)
        table.position = self.game.step(table.position, int(rng.choice(len(shares), p=shares)))

    def _finish(self, tables: Sequence[_Table]) -> list[PlayedGame]:
        scores = self.arena.judge([table.position for table in tables])
        played = []
        for table, score in zip(tables, scores, strict=True):
            if score is None:
                continue
            worth = self.arena.worth(score)
            lessons = tuple(replace(lesson, worth=worth) for lesson in table.lessons)
            played.append(PlayedGame(lessons, table.position, score, tuple(table.expected)))
        return played
