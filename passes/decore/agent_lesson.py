"""The lesson of DECORE: what the engine of epochs teaches to agents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compressc.passes.decore.exercises import Exercise
from compressc.passes.decore.penalty_control import PenaltyControl
from compressc.passes.decore.policies import Policies
from compressc.passes.training.standing import Standing
from compressc.tasks.protocol import Batch, Task


class AgentLesson:
    """Teaches policies by an exercise, and lets a controller move their penalty.

    Args:
        task: judges on search-validation.
        exercise: how policies learn from a batch.
        policies: who learns.
        control: of the penalty; None to leave it as it is.
        steps: batches of an epoch.
    """

    def __init__(
        self,
        task: Task,
        exercise: Exercise,
        policies: Policies,
        control: PenaltyControl | None,
        steps: int,
    ) -> None:
        self._task, self._exercise, self._policies = task, exercise, policies
        self._control, self._steps, self._done = control, steps, 0

    def begin_epoch(self, epoch: int) -> None:
        """Prepare the exercise."""
        self._done = epoch * self._steps
        self._exercise.begin_epoch()

    def step(self, batch: Batch) -> Tensor:
        """Let the policies learn from one batch, then move the penalty."""
        loss = self._exercise.step(batch)
        self._done += 1
        if self._control is not None:
            weights = self._policies.weights.double().cpu().numpy()
            penalty = self._control.adapt(self._policies.penalty, weights, self._done)
            self._policies.penalty = penalty
        return loss

    def end_epoch(self) -> None:
        """Settle what the processes have to agree on."""
        self._exercise.end_epoch()

    def is_finite(self) -> bool:
        """Return whether policies and network are numbers."""
        return self._exercise.is_finite() and self._policies.is_finite()

    def judge(self) -> float:
        """Return the metric on search-validation without the channels that are dropped by now."""
        network = self._exercise.network
        network.set_factors(self._policies.decided)
        return float(self._task.validate(network.module.eval()))

    def outcome(self) -> Mapping[str, Any]:
        """Return the agents' weights, their penalty, and the network's weights if it learns."""
        return {
            "agents": self._policies.weights,
            "penalty": self._policies.penalty,
            "network": self._exercise.weights(),
        }

    def state(self) -> dict[str, Any]:
        """Return the state of exercise and policies (shared)."""
        return {"exercise": self._exercise.state(), "policies": self._policies.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._exercise.load(state["exercise"])
        self._policies.load(state["policies"])

    def describe(self, standing: Standing) -> str:
        """Return how many channels are dropped by now, and the metric without them."""
        text = f"{100 * self._policies.dropped:.1f} % of the channels dropped"
        if math.isnan(standing.metric):
            return text
        return f"{text}, search-validation {standing.metric:.4g} without them"
