"""The lesson of gradual pruning: a network learns while its masks follow a ramp."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compressc.passes.gradual.magnitude_masks import MagnitudeMasks
from compressc.passes.gradual.ramp import Ramp
from compressc.passes.training.learner import Learner
from compressc.passes.training.objectives import Objective
from compressc.passes.training.standing import Standing
from compressc.tasks.protocol import Batch, Task


class GradualLesson:
    """Teaches a network under masks that follow its magnitudes until the ramp ends.

    Args:
        task: judges on search-validation.
        learner: the network in training.
        objective: what to make small.
        masks: on the weights of the learner's module.
        ramp: how many zeros there are when.
        every: steps from one choice of masks to the next.
        steps: of an epoch.
    """

    def __init__(
        self,
        task: Task,
        learner: Learner,
        objective: Objective,
        masks: MagnitudeMasks,
        ramp: Ramp,
        every: int,
        steps: int,
    ) -> None:
        self._task, self._learner, self._objective = task, learner, objective
        self._masks, self._ramp, self._every, self._steps = masks, ramp, every, steps
        self._taken = 0
        self._settled = False
        # After each epoch, what came in included: share of zeros, metric.
        self._curve: list[tuple[float, float]] = []

    def begin_epoch(self, epoch: int) -> None:
        """Switch to training mode."""
        self._taken = epoch * self._steps
        self._learner.begin_epoch()

    def step(self, batch: Batch) -> Tensor:
        """Choose masks where it is time to, and take one step of the optimizer."""
        self._follow_ramp()
        self._taken += 1
        return self._learner.step(batch, self._objective)

    def _follow_ramp(self) -> None:
        if self._taken >= self._ramp.steps:
            if not self._settled:
                self._masks.prune(self._ramp.sparsity)
            self._settled = True
        elif self._taken % self._every == 0:
            self._masks.prune(self._ramp.at(self._taken))

    def end_epoch(self) -> None:
        """Bring running statistics together; end the ramp where its last step is over."""
        self._learner.end_epoch()
        if self._taken >= self._ramp.steps:
            self._follow_ramp()

    def is_finite(self) -> bool:
        """Return whether every parameter is a number."""
        return self._learner.is_finite()

    def judge(self) -> float:
        """Return the metric on search-validation; NaN, which nothing is kept for, on the ramp."""
        metric = float(self._task.validate(self._learner.module.eval()))
        self._curve.append((self._masks.sparsity, metric))
        return metric if self._settled else math.nan

    def outcome(self) -> Mapping[str, Any]:
        """Return the weights by name, and the masks that they are used under."""
        return {"weights": self._learner.weights(), "masks": dict(self._masks.masks)}

    @property
    def curve(self) -> tuple[tuple[float, float], ...]:
        """Share of zeros and metric, before training and after each epoch."""
        return tuple(self._curve)

    def state(self) -> dict[str, Any]:
        """Return the state of learner and masks (shared)."""
        return {
            "learner": self._learner.state(),
            "masks": dict(self._masks.masks),
            "settled": self._settled,
            "curve": [list(point) for point in self._curve],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._learner.load(state["learner"])
        self._masks.restore(state["masks"])
        self._settled = state["settled"]
        self._curve = [(point[0], point[1]) for point in state["curve"]]

    def describe(self, standing: Standing) -> str:
        """Return how many zeros there are, and the metric of the last epoch."""
        text = f"{100 * self._masks.sparsity:.1f} % zeros"
        if not self._curve:
            return text
        best = "" if math.isnan(standing.kept_metric) else f", {standing.kept_metric:.4g} at best"
        return f"{text}, search-validation {self._curve[-1][1]:.4g}{best}"
