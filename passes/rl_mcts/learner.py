"""The learner: the network, its optimizer and its queue, as they go through a search together."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from compressc.array_types import BoolArray
from compressc.passes.rl_mcts.network_file import read_network
from compressc.passes.rl_mcts.network_training import train_network
from compressc.passes.rl_mcts.policy_value_network import (
    PolicyValueNetwork,
    load_weights,
    make_network,
)
from compressc.passes.rl_mcts.replay import Lesson, Replay
from compressc.passes.rl_mcts.settings import Learning
from compressc.passes.rl_mcts.state_matrix import FeatureSheet


class Learner:
    """Learns from lessons.

    Attributes:
        network: f_theta.
        width: of the network.
        sheets: features of the units, one more after every training between segments.
        replay: the queue.
        is_trained: whether the network has ever learned anything.
        seconds: spent in training so far.

    Args:
        rule: how to learn.
        sheet: features at the beginning.
        seed: of an untrained network.

    Raises:
        PolicyError: if a network to begin with cannot be read.
    """

    def __init__(self, rule: Learning, sheet: FeatureSheet, seed: int) -> None:
        self._rule = rule
        self.network: PolicyValueNetwork = make_network(rule.net_width, seed)
        self.width = rule.net_width
        if rule.start_network:
            self.network, self.width = read_network(rule.start_network)
        self._optimizer = rule.rule.open_optimizer(self.network)
        self.sheets = [sheet]
        self.replay = Replay(rule.queue)
        self.is_trained = bool(rule.start_network)
        self.seconds = 0.0

    def learn(self, lessons: Iterable[Lesson], rng: np.random.Generator) -> float:
        """Remember lessons and train on the queue; return the loss of the last epoch."""
        started = time.perf_counter()
        self.replay.add(lessons)
        self.is_trained = self.is_trained or bool(self.replay.lessons)
        loss = train_network(
            self.network,
            self._optimizer,
            list(self.replay.lessons),
            self._describe,
            self._rule.rule,
            rng,
        )
        self.seconds += time.perf_counter() - started
        return loss

    def state(self) -> dict[str, Any]:
        """Return everything that learns, for the store."""
        return {
            "network": self.network.state_dict(),
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "replay": self.replay.pack(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` returned."""
        load_weights(self.network, state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.replay.unpack(state["replay"])
        self.is_trained = self.is_trained or bool(self.replay.lessons)

    def _describe(self, kept: BoolArray, sheet: int) -> torch.Tensor:
        return self.sheets[sheet].matrix(kept)
