"""Descent: the optimizer of some parameters, with its learning rate over the whole run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ReduceLROnPlateau

from compressc.passes.training.optimization import make_optimizer, make_schedule
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings


class Descent:
    """Takes steps down the gradients of a module's parameters.

    Args:
        module: whose parameters learn.
        settings: optimizer, learning rate, schedule and clipping.
        steps: of the whole run.
        partial: whether some parameters get no gradient in some steps.
    """

    def __init__(
        self, module: nn.Module, settings: TrainingSettings, steps: int, *, partial: bool = False
    ) -> None:
        self._settings, self._steps = settings, steps
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._optimizer = make_optimizer(module, settings, partial=partial)
        self._schedule = make_schedule(self._optimizer, settings, steps)
        self._loss: Tensor | None = None
        self._taken = 0

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def clear(self) -> None:
        """Forget the gradients of the last step."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, loss: Tensor) -> None:
        """Take one step along the gradients that are there; ``loss`` is what they are of."""
        if self._settings.clip_norm:
            clip_grad_norm_(self._parameters, self._settings.clip_norm)
        self._optimizer.step()
        loss = loss.detach()
        self._loss, self._taken = loss if self._loss is None else self._loss + loss, self._taken + 1
        # An epoch may turn out longer than the first one was.
        if not self._follows_loss and self._schedule.last_epoch < self._steps - 1:
            self._schedule.step()

    def end_epoch(self, processes: Processes) -> None:
        """Lower the rate where the schedule asks how the loss went; the processes agree on it."""
        if self._loss is not None and isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step(float(processes.mean(self._loss)) / self._taken)
        self._loss, self._taken = None, 0

    @property
    def _follows_loss(self) -> bool:
        return isinstance(self._schedule, ReduceLROnPlateau)

    def is_finite(self) -> bool:
        """Return whether every parameter is a number; buffers may be infinite, as masks are."""
        return all(bool(torch.isfinite(p).all()) for p in self._parameters)

    def state(self) -> dict[str, Any]:
        """Return what the next epoch starts from (shared, not copied)."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
