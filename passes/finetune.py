"""Fine-tuning: training goes on with what compression left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.passes.training.objectives import TaskLoss
from compressc.passes.training.settings import TrainingSettings
from compressc.passes.training.trainer import train
from compressc.program import Program


@dataclass(frozen=True)
class Finetune(TrainingSettings, Pass):
    """Train the compressed model on the training split; the best epoch is kept.

    Epochs are judged on search-validation. The weights that came in come back only where every
    epoch loses over 5 % of their metric there: the original may have been trained on these images,
    and then looks better on them than it is. Zeros of sparse weights stay zero. With ``--work-dir``
    a run that was cut off goes on after its last epoch. Started by ``torchrun`` it runs on several
    processes, which share each batch. The attributes are those of
    :class:`compressc.passes.training.settings.TrainingSettings`.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    name: ClassVar[str] = "finetune"
    declares: ClassVar[Declaration] = Declaration(
        needs="labels", runs_on="lowered", changes=frozenset({"weights"})
    )

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with new weights.

        Raises:
            PlanError: if decisions are pending.
            DataError: if there is no task.
            OutputError: if state cannot be written to the work directory.
        """
        return train(
            program,
            self,
            context,
            name=self.name,
            make_objective=lambda task, _device, _precision: TaskLoss(task),
        )
