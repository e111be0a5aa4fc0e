"""The lesson of finetune and distill: all weights of a network, by one objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compressc.passes.training.learner import Learner
from compressc.passes.training.objectives import Objective
from compressc.passes.training.placement import place_program
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings
from compressc.passes.training.standing import Standing
from compressc.program import Program
from compressc.tasks.protocol import Batch, Task


class NetworkLesson:
    """Teaches a program's network to make an objective small.

    Args:
        program: the network; stays as it is.
        task: judges on search-validation.
        settings: hyper-parameters.
        processes: that share the work.
        learner: the network in training.
        objective: what to make small.
    """

    def __init__(
        self,
        program: Program,
        task: Task,
        settings: TrainingSettings,
        processes: Processes,
        learner: Learner,
        objective: Objective,
    ) -> None:
        self._program, self._task = program, task
        self._settings, self._processes = settings, processes
        self._learner, self._objective = learner, objective

    def begin_epoch(self, epoch: int) -> None:
        """Switch to training mode."""
        del epoch
        self._learner.begin_epoch()

    def step(self, batch: Batch) -> Tensor:
        """Take one step of the optimizer."""
        return self._learner.step(batch, self._objective)

    def end_epoch(self) -> None:
        """Bring running statistics together."""
        self._learner.end_epoch()

    def is_finite(self) -> bool:
        """Return whether every parameter is a number."""
        return self._learner.is_finite()

    def judge(self) -> float:
        """Return the metric on search-validation, in float32, as the result will be used."""
        device, channels_last = self._processes.device, self._settings.channels_last
        module = place_program(self._program, device, channels_last)
        module.load_state_dict(self._learner.weights())
        return float(self._task.validate(module.eval()))

    def outcome(self) -> Mapping[str, Tensor]:
        """Return the weights by name, or their moving averages."""
        return self._learner.weights()

    def state(self) -> dict[str, Any]:
        """Return the learner's state (shared)."""
        return self._learner.state()

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._learner.load(state)

    def describe(self, standing: Standing) -> str:
        """Return the best metric so far."""
        return f"search-validation {standing.kept_metric:.4g} at best"
