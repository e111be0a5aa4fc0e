"""Hyper-parameters of DECORE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressc.errors import GoalError
from compressc.passes.decore.policies import Sampling
from compressc.passes.training.settings import TrainingSettings


@dataclass(frozen=True)
class DecoreSettings(TrainingSettings):
    """How policies are trained, and the network with them.

    Attributes:
        epochs: passes over the training split; policies need some 1500 steps to make up their mind.
        mode: "joint", or "constraint": only policies learn, which is faster and needs a goal.
        penalty: what a wrong prediction counts against a right one (lambda in the paper); higher
            drops less.
        first_weight: of every agent; 6.9 opens a channel with probability 0.999.
        agent_rate: learning rate of the policies (Adam).
        sampling: "image": each image of a batch has actions of its own; "step": one set for all,
            faster and noisier.
        baseline: subtract from each reward the mean of the other images' (not in the paper): the
            same gradient on average with far less noise, so that wide layers learn in fewer steps.
        adapt_penalty: lower or raise the penalty during training so that the policies themselves
            arrive at the goal.
        floor: share of a group that stays as long as the goal can be met elsewhere.
        policies: a file (.npz): read where it exists, which replaces training, else written; one
            file serves any number of goals.
        analysis: remark what removing the highest and the lowest 1 % of the agents costs.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    epochs: int = 20
    mode: Literal["joint", "constraint"] = "joint"
    penalty: float = 10.0
    first_weight: float = 6.9
    agent_rate: float = 0.01
    sampling: Sampling = "image"
    baseline: bool = False
    adapt_penalty: bool = False
    floor: float = 0.0
    policies: str | None = None
    analysis: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, choices in (("mode", ("joint", "constraint")), ("sampling", ("image", "step"))):
            if getattr(self, field) not in choices:
                raise GoalError(f"{field} '{getattr(self, field)}': give one of {choices}")
        if not self.penalty >= 0:
            raise GoalError(f"penalty {self.penalty:g}: must be 0 or more")
        for field in ("agent_rate", "first_weight"):
            if not getattr(self, field) > 0:
                raise GoalError(f"{field} {getattr(self, field):g}: must be above 0")
        if not 0 <= self.floor <= 1:
            raise GoalError(f"floor {self.floor:g}: give a share of each group from 0 to 1")
        if self.baseline and self.sampling == "step":
            raise GoalError("baseline compares images, which need actions of their own: drop it")
        if self.ema or self.patience:
            raise GoalError("decore keeps its last epoch: give ema and patience to finetune")
