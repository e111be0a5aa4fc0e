"""Policies: the weights of all agents while they learn."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.optim import Adam

from compressc.errors import PlanError
from compressc.passes.decore.rewards import policy_gradient, reward, subtract_others
from compressc.passes.gates.gated_units import GatedUnits
from compressc.passes.training.processes import Processes

Sampling = Literal["image", "step"]


class Policies:
    """Bernoulli policies of agents, learning by REINFORCE and Adam.

    Args:
        agents: whose.
        first: their first weight; at 6.9 a channel is open with probability 0.999.
        rate: learning rate of Adam.
        sampling: "image": actions of its own for each image; "step": one set for a whole batch.
        baseline: whether the mean reward of the other images is subtracted.
        penalty: what a wrong prediction counts, lambda in the paper; may be changed at any time.
        processes: that share the work.
    """

    def __init__(
        self,
        agents: GatedUnits,
        first: float,
        rate: float,
        sampling: Sampling,
        baseline: bool,
        penalty: float,
        processes: Processes,
    ) -> None:
        self.penalty = penalty
        self._sampling, self._baseline, self._processes = sampling, baseline, processes
        group_of = torch.as_tensor(agents.group_of, device=processes.device)
        self._membership = one_hot(group_of, len(agents.groups)).float()
        self.weights = torch.full((agents.count,), first, device=processes.device)
        self._optimizer = Adam([self.weights], lr=rate)

    @property
    def decided(self) -> Tensor:
        """Actions without chance: 1 where the probability is at least one half; (1, agents)."""
        return (self.weights >= 0).to(self.weights.dtype)[None]

    @property
    def dropped(self) -> float:
        """Share of the agents that would drop their channel now."""
        return float((self.weights < 0).float().mean())

    def sample(self, images: int) -> Tensor:
        """Return actions for a batch, (images, agents) or (1, agents), drawn from torch's state."""
        rows = images if self._sampling == "image" else 1
        chances = torch.rand(rows, len(self.weights), device=self.weights.device)
        return (chances < self.weights.sigmoid()).to(self.weights.dtype)

    def learn(self, actions: Tensor, correct: Tensor) -> None:
        """Take one step of Adam uphill on the reward.

        Shape:
            actions: as :meth:`sample` returned them; correct: bool (images,).
        """
        correct = correct.to(actions.device)
        rewards = reward(actions, correct, self._membership, self.penalty)
        if self._baseline:
            rewards = subtract_others(rewards)
        gradient = policy_gradient(actions, self.weights.sigmoid(), rewards, self._membership)
        # Adam does not mind the scale of the reward, but its memory of squared gradients would be
        # stuck after a penalty that was high for a while.
        self.weights.grad = -self._processes.mean(gradient) / max(1.0, self.penalty)
        self._optimizer.step()

    def is_finite(self) -> bool:
        """Return whether every weight is a number."""
        return bool(torch.isfinite(self.weights).all())

    def state(self) -> dict[str, Any]:
        """Return everything that the next step starts from (shared, not copied)."""
        return {
            "weights": self.weights,
            "optimizer": self._optimizer.state_dict(),
            "penalty": self.penalty,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.weights.copy_(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.penalty = float(state["penalty"])


def check_sampling(agents: GatedUnits) -> None:
    """Check that each image can have actions of its own.

    Raises:
        PlanError: if a layer reads a value whose first axis is not made of samples.
    """
    for gate in agents.gates:
        if not gate.repeats:
            raise PlanError(
                f"decore: {gate.readers[0]} reads rows that do not belong to one image each, so "
                "images cannot have actions of their own; give --sampling step"
            )
