"""The pruning game: units leave move by move until an aim is met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from compressc.array_types import BoolArray, FloatArray, IntArray
from compressc.passes.rl_mcts.aims import Aim
from compressc.passes.rl_mcts.prunable_units import PrunableUnits

# A move takes at most one in so many units of a group.
_FRACTION = 4


@dataclass(eq=False)
class Position:
    """What is left at some point of a game; it belongs to that game, and remembers its answers.

    A tree search comes through the same positions again and again.

    Attributes:
        kept: which units stay, shape (units,).
        counts: how many units each group keeps.
        legal: units that a move may name, shape (units,); None until the game was asked.
        following: positions behind the moves that the game was asked for.
    """

    kept: BoolArray
    counts: tuple[int, ...]
    legal: BoolArray | None = field(default=None, repr=False)
    following: dict[int, Position] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class PruningGame:
    """A game (see :mod:`compressc.passes.rl_mcts.tree`) whose actions are units.

    A move removes the unit that it names, and with it, least important first, as many others of its
    group as make up ``units_per_move`` and an allowed count, but hardly more than a quarter of the
    group, so that narrow layers are cut finely. The last move removes no more than the aim asks
    for. Nodes are told apart by the counts of the groups alone, as in the paper.

    Attributes:
        units: of the network.
        aim: when the game is over.
        allowed: which units may be named or removed, shape (units,).
        units_per_move: how many units of a group a move removes at most.
    """

    units: PrunableUnits
    aim: Aim
    allowed: BoolArray
    units_per_move: int = 1
    _met: dict[tuple[int, ...], bool] = field(default_factory=dict, repr=False)

    def position(self, kept: BoolArray) -> Position:
        """Return the position at which some units are left."""
        return Position(kept, self.units.counts(kept))

    def key(self, state: Position) -> tuple[int, ...]:
        """Return the counts of the groups."""
        return state.counts

    def is_over(self, state: Position) -> bool:
        """Return whether the aim is met."""
        if state.counts not in self._met:
            self._met[state.counts] = self.aim.is_met(np.array(state.counts))
        return self._met[state.counts]

    def legal(self, state: Position) -> BoolArray:
        """Return which units a move may name, shape (units,)."""
        if state.legal is None:
            state.legal = self._find_legal(state)
        return state.legal

    def _find_legal(self, state: Position) -> BoolArray:
        free = state.kept & self.allowed
        available = np.bincount(self.units.owner[free], minlength=len(state.counts))
        may_fall = [
            count in steps and count - steps[count] <= there
            for count, steps, there in zip(
                state.counts, self.units.next_count, available, strict=True
            )
        ]
        legal: BoolArray = free & np.array(may_fall)[self.units.owner]
        return legal

    def step(self, state: Position, action: int) -> Position:
        """Return the position after a move.

        Args:
            state: at which the game is not over.
            action: a legal unit.
        """
        if action not in state.following:
            state.following[action] = self._remove(state, action)
        return state.following[action]

    def _remove(self, state: Position, action: int) -> Position:
        group = int(self.units.owner[action])
        steps, kept, counts = self.units.next_count[group], state.kept.copy(), list(state.counts)
        leaving = self._leaving(state.kept, group, action)
        leave = min(self.units_per_move, max(1, counts[group] // _FRACTION))
        last = counts[group] - leave
        while counts[group] > last and counts[group] in steps:
            below = steps[counts[group]]
            batch: list[IntArray] = []
            while counts[group] > below and (units := next(leaving, None)) is not None:
                batch.append(units)
                counts[group] -= len(units)
            if counts[group] != below:
                # Too few are left that may go.
                counts[group] += sum(map(len, batch))
                break
            kept[np.concatenate(batch)] = False
            if self.is_over(Position(kept, tuple(counts))):
                break
        return Position(kept, tuple(counts))

    def play_in_order(self, root: Position, worth: FloatArray) -> Position:
        """Return the end of the game in which the legal unit of least worth always leaves.

        Args:
            root: where it begins.
            worth: of each unit, shape (units,).
        """
        position = root
        while not self.is_over(position):
            legal = self.legal(position)
            position = self.step(position, int(np.argmin(np.where(legal, worth, np.inf))))
        return position

    def play_at_random(self, root: Position, rng: np.random.Generator) -> Position:
        """Return the end of a game of random moves."""
        position = root
        while not self.is_over(position):
            legal = np.flatnonzero(self.legal(position))
            position = self.step(position, int(rng.choice(legal)))
        return position

    def lowest_counts(self, kept: BoolArray) -> IntArray:
        """Return the counts beyond which no move leads, shape (groups,)."""
        counts = list(self.units.counts(kept))
        free = np.bincount(self.units.owner[kept & self.allowed], minlength=len(counts))
        for group, steps in enumerate(self.units.next_count):
            least = counts[group] - int(free[group])
            while counts[group] in steps and steps[counts[group]] >= least:
                counts[group] = steps[counts[group]]
        return np.array(counts, dtype=np.int64)

    @cached_property
    def _allowed_bundles(self) -> tuple[tuple[IntArray, IntArray], ...]:
        """Per group the places of the bundles that may leave, and a unit of each."""
        allowed = []
        for parts in self.units.bundles:
            may_leave = [bool(self.allowed[units].all()) for units in parts]
            places = np.flatnonzero(may_leave)
            allowed.append((places, np.array([units[0] for units in parts])[places]))
        return tuple(allowed)

    def _leaving(self, kept: BoolArray, group: int, action: int) -> Iterator[IntArray]:
        """Yield the bundles that a move may remove, that of the named unit first."""
        bundles, named = self.units.bundles[group], int(self.units.bundle_of[action])
        yield bundles[named]
        places, firsts = self._allowed_bundles[group]
        for place in places[kept[firsts]]:
            if place != named:
                yield bundles[place]
