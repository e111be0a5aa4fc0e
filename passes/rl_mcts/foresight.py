"""Foresight: what the network expects of positions, with the guide and the rules of the game."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from compressc.array_types import BoolArray, FloatArray
from compressc.coupling.graph import couple
from compressc.passes.rl_mcts.policy_value_network import PolicyValueNetwork, foresee
from compressc.passes.rl_mcts.prunable_units import PrunableUnits
from compressc.passes.rl_mcts.pruning_game import Position, PruningGame
from compressc.passes.rl_mcts.state_matrix import FeatureSheet
from compressc.passes.rl_mcts.tree import Outlook
from compressc.plan import Plan

# A guide spreads over at least so many units.
_FEWEST = 3.0


class Foresight:
    """Asks the network, one batch at a time.

    Attributes:
        network: f_theta; changed by training.
        sheet: features of the units now.
        guide: logits added to those of the policy, shape (units,).
        seconds: spent in the network so far.
    """

    def __init__(self, network: PolicyValueNetwork, sheet: FeatureSheet, guide: FloatArray) -> None:
        self.network, self.sheet, self.guide = network, sheet, guide
        self.seconds = 0.0
        self._guessed: dict[bytes, float] = {}

    def look(
        self, game: PruningGame, positions: Sequence[Position], ends: Sequence[Position] = ()
    ) -> tuple[list[Outlook], list[float]]:
        """Return what is expected of positions, all in one batch.

        Args:
            game: the rules.
            positions: at which the game is not over.
            ends: at which it is over, and nobody judges.

        Returns:
            The outlook of each position, and the worth of each end.
        """
        fresh = {end.kept.tobytes(): end for end in ends}
        fresh = {key: end for key, end in fresh.items() if key not in self._guessed}
        everything = self.sheet.units.everything
        legal = [game.legal(position) for position in positions] + [everything] * len(fresh)
        outlooks = self._ask([*positions, *fresh.values()], legal)
        for key, outlook in zip(fresh, outlooks[len(positions) :], strict=True):
            self._guessed[key] = outlook.worth
        return outlooks[: len(positions)], [self._guessed[end.kept.tobytes()] for end in ends]

    def forget(self) -> None:
        """Forget what was expected of ends: the network, or the features, are others now."""
        self._guessed.clear()

    def _ask(self, positions: Sequence[Position], legal: Sequence[BoolArray]) -> list[Outlook]:
        started = time.perf_counter()
        states = [self.sheet.matrix(position.kept) for position in positions]
        outlooks = foresee(self.network, states, legal, self.guide)
        self.seconds += time.perf_counter() - started
        return outlooks


def measure_worth_per_cost(units: PrunableUnits, values: FloatArray, what: str) -> FloatArray:
    """Return a feature of each unit per share of the whole cost that it takes, shape (units,).

    Args:
        units: whose.
        values: the feature, shape (units,).
        what: the cost: macs, params or size_bytes.
    """
    coupling = couple(units.program)
    everything = coupling.kept(Plan())
    costs = getattr(coupling.costs, what)
    full = float(costs(everything))
    prices = np.ones(len(units.groups))
    for place, group in enumerate(units.groups):
        without = everything.copy()
        without[group.classes] = False
        prices[place] = max((full - float(costs(without))) / group.size / full, 1e-12)
    worth: FloatArray = values / prices[units.owner]
    return worth


def make_guide(worth: FloatArray, spread: float) -> FloatArray:
    """Return logits under which units leave by their worth, least first.

    The probability falls by e over ``spread`` of all units, or a few. Since only differences count,
    what is left after some moves is guided by its own order in the same way.

    Args:
        worth: of each unit, shape (units,).
        spread: share of the units, above 0.

    Shape:
        result: (units,).
    """
    logits: FloatArray = -_ranks(worth) / max(_FEWEST, spread * len(worth))
    return logits


def bring_forward(worth: FloatArray, removed: BoolArray, share: float) -> FloatArray:
    """Return an order in which some units come earlier, by a share of all units.

    Shape:
        worth (units,); removed (units,); result (units,).
    """
    order: FloatArray = _ranks(worth) - share * len(worth) * removed
    return order


def _ranks(worth: FloatArray) -> FloatArray:
    ranks = np.argsort(np.argsort(worth, kind="stable"), kind="stable")
    return ranks.astype(np.float64)
