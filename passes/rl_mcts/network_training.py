"""Training of the policy and value network on what self-plays showed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressc.array_types import BoolArray
from compressc.passes.rl_mcts.policy_value_network import PolicyValueNetwork, sum_loss
from compressc.passes.rl_mcts.replay import Lesson

# Returns the state of kept units under a sheet of features, shape (7, units).
Describe = Callable[[BoolArray, int], Tensor]


@dataclass(frozen=True)
class TrainingRule:
    """How the network learns.

    Attributes:
        epochs: passes over the queue after every iteration.
        rate: of Adam.
        batch: lessons per step.
        decay: c of Eq. 1, the weight of the squared norm of all parameters.
    """

    epochs: int
    rate: float
    batch: int
    decay: float

    def open_optimizer(self, network: PolicyValueNetwork) -> torch.optim.Adam:
        """Return the optimizer of Eq. 1."""
        # Adam adds weight_decay times the weights to the gradient, which c |theta|^2 does twice.
        return torch.optim.Adam(network.parameters(), lr=self.rate, weight_decay=2 * self.decay)


def train_network(
    network: PolicyValueNetwork,
    optimizer: torch.optim.Optimizer,
    lessons: Sequence[Lesson],
    describe: Describe,
    rule: TrainingRule,
    rng: np.random.Generator,
) -> float:
    """Train a network in place; return the mean of the two losses in the last epoch.

    Args:
        network: f_theta.
        optimizer: of its parameters.
        lessons: the queue.
        describe: returns states.
        rule: how long and how fast.
        rng: shuffles.
    """
    if not lessons or not rule.epochs:
        return 0.0
    states = torch.stack([describe(lesson.kept, lesson.sheet) for lesson in lessons])
    legal = torch.from_numpy(np.stack([lesson.legal for lesson in lessons]))
    shares = torch.from_numpy(np.stack([lesson.shares for lesson in lessons]).astype(np.float32))
    ends = torch.tensor([lesson.worth for lesson in lessons], dtype=torch.float32)
    added = torch.from_numpy(np.stack([lesson.guide for lesson in lessons]).astype(np.float32))
    total = 0.0
    with torch.enable_grad():
        for _ in range(rule.epochs):
            order = torch.from_numpy(rng.permutation(len(lessons)))
            total = 0.0
            for start in range(0, len(order), rule.batch):
                rows = order[start : start + rule.batch]
                logs, worths = network(states[rows], legal[rows], added[rows])
                loss = sum_loss(logs, worths, shares[rows], ends[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.item() * len(rows)
    return total / len(lessons)
