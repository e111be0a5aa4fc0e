"""Hyper-parameters of gradual pruning."""

from __future__ import annotations

from dataclasses import dataclass

from compressc.errors import GoalError
from compressc.passes.gradual.ramp import check_sparsity
from compressc.passes.training.settings import TrainingSettings


@dataclass(frozen=True)
class GradualSettings(TrainingSettings):
    """How a network is trained while zeros rise in it.

    Attributes:
        epochs: passes over the training split.
        sparsity: share of zeros in every layer at the end; 0 trains without any.
        ramp: share of all steps in which zeros rise; in the rest the masks are fixed. What is best
            on search-validation is kept of the rest alone.
        prune_every: steps from one choice of masks to the next.
        floor: so many weights of a layer stay at least, or all that it has.
        skip_first_last: leave the first and the last layer dense.
        from_scratch: begin with fresh weights instead of the trained ones.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    epochs: int = 10
    sparsity: float = 0.9
    ramp: float = 0.6
    prune_every: int = 16
    floor: int = 16
    skip_first_last: bool = True
    from_scratch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sparsity(self.sparsity)
        if not 0 < self.ramp <= 1:
            raise GoalError(f"ramp {self.ramp:g}: give a share of the steps above 0, at most 1")
        for field in ("prune_every", "floor"):
            if getattr(self, field) < 1:
                raise GoalError(f"{field} {getattr(self, field)}: at least 1 is needed")
        if self.ema or self.patience:
            raise GoalError(
                "gradual chooses among the epochs behind its ramp: give ema and patience to "
                "finetune"
            )
