"""Objectives: what training makes small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compressc.passes.training.precision import Precision
from compressc.tasks.protocol import Inputs, Task


class Objective(Protocol):
    """Maps one batch to the mean loss of its samples, a scalar with a gradient."""

    def __call__(self, inputs: Inputs, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of ``outputs``, which the trained module gave for ``inputs``."""
        ...


@dataclass(frozen=True, eq=False)
class TaskLoss:
    """The loss of the task."""

    task: Task

    def __call__(self, inputs: Inputs, outputs: Any, targets: Any) -> Tensor:
        """Return the task's loss."""
        del inputs
        return self.task.loss(outputs, targets)


@dataclass(frozen=True, eq=False)
class DistillationLoss:
    """The loss of the task, mixed with the distance to what a teacher says.

    Attributes:
        task: gives the loss on targets.
        teacher: in eval mode, on the device of the batches.
        temperature: softens the logits of both.
        weight: share of the teacher, from 0 to 1.
        precision: that the teacher runs in.
    """

    task: Task
    teacher: nn.Module
    temperature: float
    weight: float
    precision: Precision

    def __call__(self, inputs: Inputs, outputs: Any, targets: Any) -> Tensor:
        """Return the mixed loss."""
        with torch.no_grad(), self.precision.autocast():
            taught = self.teacher(*inputs)
        distance = soften_and_compare(outputs, taught, self.temperature)
        if self.weight == 1:
            return distance
        return self.weight * distance + (1 - self.weight) * self.task.loss(outputs, targets)


def soften_and_compare(outputs: Any, taught: Any, temperature: float) -> Tensor:
    """Return the distance of outputs to a teacher's.

    Logits are compared by the divergence of their softened distributions, times the temperature
    squared; everything else by mean squared error, averaged over the output tensors.

    Shape:
        logits (N, classes); other outputs any, the same on both sides.

    Source:
        Hinton et al., Distilling the Knowledge in a Neural Network, 2015.
    """
    if isinstance(outputs, Tensor) and outputs.dim() == 2 and outputs.shape[1] > 1:
        pupil = F.log_softmax(outputs.float() / temperature, dim=1)
        teacher = F.log_softmax(taught.float() / temperature, dim=1)
        divergence = F.kl_div(pupil, teacher, reduction="batchmean", log_target=True)
        return divergence * temperature**2
    pairs = zip(_floats(outputs), _floats(taught), strict=True)
    return torch.stack([F.mse_loss(said, target) for said, target in pairs]).mean()


def _floats(outputs: Any) -> list[Tensor]:
    leaves = pytree.tree_leaves(outputs)
    return [x.float() for x in leaves if isinstance(x, Tensor) and x.is_floating_point()]
