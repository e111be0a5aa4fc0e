"""Learner: the module that is trained, with everything that changes along with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils import _pytree as pytree

from compressc.passes.training.descent import Descent
from compressc.passes.training.objectives import Objective
from compressc.passes.training.placement import place_inputs, place_program, place_targets
from compressc.passes.training.precision import Precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings
from compressc.passes.training.sparse_gradients import keep_zeros
from compressc.program import Program
from compressc.tasks.protocol import Batch


class Learner:
    """A program's module in training.

    Args:
        program: what to train; stays as it is.
        settings: how.
        steps: of the whole run, for the learning rate.
        processes: that share the work.
        precision: of the forward pass.
    """

    def __init__(
        self,
        program: Program,
        settings: TrainingSettings,
        steps: int,
        processes: Processes,
        precision: Precision,
    ) -> None:
        self._settings, self._processes, self._precision = settings, processes, precision
        self._module = place_program(program, processes.device, settings.channels_last)
        keep_zeros(self._module, program.sparse_weights)
        self._average: AveragedModel | None = None
        if settings.ema:
            average = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
            self._average = AveragedModel(self._module, multi_avg_fn=average, use_buffers=True)
            self._average.update_parameters(self._module)
        self._model = processes.distribute(self._module)
        self._descent = Descent(self._module, settings, steps)

    @property
    def module(self) -> nn.Module:
        """The module in training itself, for those who put something into its graph."""
        return self._module

    def step(self, batch: Batch, objective: Objective) -> Tensor:
        """Learn from one batch and return this process's part of its mean loss, detached."""
        loss = self._loss(self._model, batch, objective)
        self._descent.clear()
        torch.autograd.backward(loss)
        self._descent.step(loss)
        if self._average is not None:
            self._average.update_parameters(self._module)
        return loss.detach()

    def loss(self, batch: Batch, objective: Objective) -> Tensor:
        """Return this process's part of a batch's mean loss, for somebody else to learn from.

        Gradients through it are those of this process alone.
        """
        return self._loss(self._module, batch, objective)

    def _loss(self, model: nn.Module, batch: Batch, objective: Objective) -> Tensor:
        (inputs, targets), factor = self._processes.take_rows(batch)
        device = self._processes.device
        inputs = place_inputs(inputs, device, self._settings.channels_last)
        targets = place_targets(targets, device)
        with self._precision.autocast():
            outputs = model(*inputs)
        if self._precision.bfloat16:
            outputs = as_float32(outputs)
        loss = objective(inputs, outputs, targets)
        return loss if factor == 1 else loss * factor

    def begin_epoch(self) -> None:
        """Switch to training mode."""
        self._model.train()

    def end_epoch(self) -> None:
        """Bring running statistics, which each process took from its own rows, together."""
        self._descent.end_epoch(self._processes)
        self._processes.average_in_place(self._module.buffers())
        if self._average is not None:
            self._processes.average_in_place(self._average.module.buffers())

    def is_finite(self) -> bool:
        """Return whether every parameter is a number; buffers may be infinite, as masks are."""
        return self._descent.is_finite()

    def weights(self) -> dict[str, Tensor]:
        """Return what is judged and kept: the module's weights, or their moving average."""
        return dict((self._module if self._average is None else self._average.module).state_dict())

    def state(self) -> dict[str, Any]:
        """Return everything that the next epoch starts from (shared, not copied)."""
        return {
            "module": self._module.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "descent": self._descent.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self._module.load_state_dict(state["module"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._descent.load(state["descent"])


def as_float32(outputs: Any) -> Any:
    """Return outputs, nested in any way, in the precision that losses are computed in."""
    return pytree.tree_map_only(
        Tensor, lambda x: x.float() if x.is_floating_point() else x, outputs
    )
