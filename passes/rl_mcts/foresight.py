"""Foresight: what the network expects of positions, with the guide and the rules of the game."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from compressc.array_types import BoolArray, FloatArray
from compressc.passes.rl_mcts.policy_value_network import PolicyValueNetwork, foresee
from compressc.passes.rl_mcts.pruning_game import Position, PruningGame
from compressc.passes.rl_mcts.state_matrix import FeatureSheet
from compressc.passes.rl_mcts.tree import Outlook


class Foresight:
    """Asks the network, one batch at a time.

    Attributes:
        network: f_theta; changed by training.
        sheet: features of the units now.
        seconds: spent in the network so far.
    """

    def __init__(self, network: PolicyValueNetwork, sheet: FeatureSheet) -> None:
        self.network, self.sheet = network, sheet
        self.seconds = 0.0
        self._guessed: dict[bytes, float] = {}

    def look(
        self,
        game: PruningGame,
        positions: Sequence[Position],
        guides: Sequence[FloatArray],
        ends: Sequence[Position] = (),
    ) -> tuple[list[Outlook], list[float]]:
        """Return what is expected of positions, all in one batch.

        Args:
            game: the rules.
            positions: at which the game is not over.
            guides: logits added to those of the policy, per position, shape (units,).
            ends: at which it is over, and nobody judges.

        Returns:
            The outlook of each position, and the worth of each end.
        """
        fresh = {end.kept.tobytes(): end for end in ends}
        fresh = {key: end for key, end in fresh.items() if key not in self._guessed}
        everything = self.sheet.units.everything
        legal = [game.legal(position) for position in positions] + [everything] * len(fresh)
        added = [*guides, *([np.zeros(len(everything))] * len(fresh))]
        outlooks = self._ask([*positions, *fresh.values()], legal, added)
        for key, outlook in zip(fresh, outlooks[len(positions) :], strict=True):
            self._guessed[key] = outlook.worth
        return outlooks[: len(positions)], [self._guessed[end.kept.tobytes()] for end in ends]

    def forget(self) -> None:
        """Forget what was expected of ends: the network, or the features, are others now."""
        self._guessed.clear()

    def _ask(
        self,
        positions: Sequence[Position],
        legal: Sequence[BoolArray],
        guides: Sequence[FloatArray],
    ) -> list[Outlook]:
        started = time.perf_counter()
        states = [self.sheet.matrix(position.kept) for position in positions]
        outlooks = foresee(self.network, states, legal, guides)
        self.seconds += time.perf_counter() - started
        return outlooks
