"""The lesson of SCAS: shared weights learn, are pruned and fixed, and the controller learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compressc.passes.gradual.ramp import Ramp
from compressc.passes.scas.controllers.controller import Controller, Ground
from compressc.passes.training.descent import Descent
from compressc.passes.training.learner import as_float32
from compressc.passes.training.placement import place_targets
from compressc.passes.training.precision import Precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.randomness import seeded
from compressc.passes.training.standing import Standing
from compressc.tasks.protocol import Batch

# Steps from one choice of masks to the next.
_PRUNE_EVERY = 16
# Streams of random numbers beside those of the batches.
_CONTROLLER, _LAST = 1, 2


class SearchLesson:
    """Teaches a supernet and its controller in turn.

    In an epoch the shared weights learn by batches, each through what the controller proposes,
    under masks that rise along the cubic ramp from epoch to epoch. At its end the weights are
    pruned to the whole sparsity and fixed, and the controller learns from the children they make.

    Args:
        ground: supernet, task, settings.
        controller: proposes.
        processes: gives the device; the work is not shared.
        steps: of an epoch.
        precision: of the forward pass of the shared weights.

    Source:
        SCAS, Algorithms 1 to 3.
    """

    def __init__(
        self,
        ground: Ground,
        controller: Controller,
        processes: Processes,
        steps: int,
        precision: Precision,
    ) -> None:
        self._precision = precision
        self._ground, self._controller, self._processes = ground, controller, processes
        settings = ground.settings
        self._steps, total = steps, steps * settings.epochs
        learners = [ground.supernet.module]
        if controller.learners is not None:
            learners.append(controller.learners)  # type: ignore[arg-type]
        self._learners = nn.ModuleList(learners)
        self._descent = Descent(self._learners, settings, total, partial=True)
        self._ramp = Ramp(settings.sparsity, max(1, total // 2))
        self._taken = self._epoch = 0
        self._seen = ""
        self._metrics: list[float] = []

    def begin_epoch(self, epoch: int) -> None:
        """Take the masks of the ramp up again; the controller learned under those at its end."""
        self._epoch, self._taken = epoch, epoch * self._steps
        self._ground.supernet.masks.prune(self._ramp.at(self._taken))

    def step(self, batch: Batch) -> Tensor:
        """Let the weights learn from one batch through what the controller proposes."""
        ground, sparsity = self._ground, self._ramp.at(self._taken)
        if self._taken % _PRUNE_EVERY == 0:
            ground.supernet.masks.prune(sparsity)
        self._taken += 1
        inputs, targets = batch
        architecture = self._controller.propose()
        weights = self._controller.weights(architecture, sparsity)
        with self._precision.autocast():
            outputs = ground.supernet.run(inputs, architecture, weights)
        if self._precision.bfloat16:
            outputs = as_float32(outputs)
        loss = ground.task.loss(outputs, place_targets(targets, self._processes.device))
        self._descent.clear()
        torch.autograd.backward(loss)
        self._descent.step(loss)
        return loss.detach()

    def end_epoch(self) -> None:
        """Prune the weights to the whole sparsity, fix them, and let the controller learn."""
        self._descent.end_epoch(self._processes)
        self._ground.supernet.masks.prune(self._ground.settings.sparsity)
        self._learners.requires_grad_(False)
        try:
            with seeded(self._processes.device, self._ground.seed, self._epoch, _CONTROLLER):
                self._seen = self._controller.learn(self._epoch)
        finally:
            self._learners.requires_grad_(True)

    def is_finite(self) -> bool:
        """Return whether every weight is a number."""
        return self._descent.is_finite()

    def judge(self) -> float:
        """Return the metric on search-validation of the controller's favourite, pruned."""
        ground = self._ground
        favourite = self._controller.favourite()
        with torch.no_grad():
            weights = self._controller.weights(favourite, ground.settings.sparsity)
            metric = float(ground.task.validate(ground.supernet.child(favourite, weights)))
        self._metrics.append(metric)
        return metric

    def finalists(self) -> list[dict[str, int]]:
        """Return the architectures to choose from."""
        settings = self._ground.settings
        with seeded(self._processes.device, self._ground.seed, settings.epochs, _LAST):
            return self._controller.finalists(settings.children)

    def outcome(self) -> Mapping[str, Any]:
        """Return the state: the search goes on from where its last epoch ended."""
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return the state of weights, masks and controller (shared)."""
        return {
            "learners": self._learners.state_dict(),
            "descent": self._descent.state(),
            "masks": dict(self._ground.supernet.masks.masks),
            "controller": self._controller.state(),
            "metrics": list(self._metrics),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._learners.load_state_dict(state["learners"])
        self._descent.load(state["descent"])
        self._ground.supernet.masks.restore(state["masks"])
        self._controller.load(state["controller"])
        self._metrics = list(state["metrics"])

    @property
    def metrics(self) -> tuple[float, ...]:
        """The favourite's metric after each epoch."""
        return tuple(self._metrics)

    def describe(self, standing: Standing) -> str:
        """Return how the controller's favourite did so far."""
        del standing
        if not self._metrics:
            return "controller untaught"
        return f"{self._seen or 'controller'}, best accuracy {max(self._metrics):.4g}"
