"""Distillation: training of what compression left, with the uncompressed model as teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.errors import GoalError, PlanError
from compressc.passes.training.objectives import DistillationLoss
from compressc.passes.training.placement import place_program
from compressc.passes.training.precision import Precision
from compressc.passes.training.settings import TrainingSettings
from compressc.passes.training.trainer import train
from compressc.program import Program
from compressc.tasks.protocol import Task


@dataclass(frozen=True)
class Distill(TrainingSettings, Pass):
    """Train the compressed model to say what the uncompressed one says; the best epoch is kept.

    Logits are compared by their softened distributions, other outputs by mean squared error; the
    loss on labels has the rest of the weight. Everything else is as in finetune.

    Attributes:
        temperature: softens the logits of both models.
        teacher_weight: share of the teacher in the loss, above 0 to 1; the rest is the labels'.

    Source:
        Hinton et al., Distilling the Knowledge in a Neural Network, 2015.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    temperature: float = 4.0
    teacher_weight: float = 0.9
    name: ClassVar[str] = "distill"
    declares: ClassVar[Declaration] = Declaration(
        needs="labels", runs_on="lowered", changes=frozenset({"weights"})
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise GoalError(f"temperature {self.temperature:g}: must be above 0")
        if not 0 < self.teacher_weight <= 1:
            raise GoalError(
                f"teacher_weight {self.teacher_weight:g}: must be above 0 and at most 1; without "
                "a teacher use finetune"
            )

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with new weights.

        Raises:
            PlanError: if decisions are pending, or the uncompressed program is not known.
            DataError: if there is no task.
            OutputError: if state cannot be written to the work directory.
        """
        teacher = context.original
        if teacher is None:
            raise PlanError(
                f"{self.name} needs the uncompressed program; give Context(original=...), or use "
                "finetune"
            )

        def objective(task: Task, device: torch.device, precision: Precision) -> DistillationLoss:
            module = place_program(teacher, device, self.channels_last).eval()
            return DistillationLoss(task, module, self.temperature, self.teacher_weight, precision)

        return train(
            program,
            self,
            context,
            name=self.name,
            make_objective=objective,
            teacher=teacher,
        )
