"""Hyper-parameters of SCAS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressc.errors import BudgetError, GoalError
from compressc.passes.gradual.ramp import check_sparsity
from compressc.passes.training.settings import TrainingSettings

ControllerName = Literal["auto", "reinforce", "alternation", "hypernet"]


@dataclass(frozen=True)
class ScasSettings(TrainingSettings):
    """How architectures are searched for.

    Attributes:
        epochs: of the shared weights (or of the network that generates weights); after each of
            them they are pruned, and the controller learns.
        learning_rate: of the shared weights; none for 0.05.
        space: name of the space that the supernet was built from, which draws and reads its
            architectures; empty for any supernet.
        controller: what proposes architectures: "reinforce" (ENAS), "alternation" (DARTS),
            "hypernet" (SMASH); "auto" for the one that the space is usually searched with.
        sparsity: share of zeros in every layer under which architectures are judged; 0 searches
            without pruning.
        floor: so many weights of a layer stay at least, or all that it has.
        children: architectures that are ranked at the end.
        controller_steps: of REINFORCE after each epoch: architectures that are tried.
        controller_rate: learning rate of the controller; none for 0.01 with REINFORCE, 0.003 with
            alternation.
        reward_samples: search-validation samples that a tried architecture is judged on.
        entropy: weight of the entropy bonus of REINFORCE.
        skip_target: share of connections that may be left out which REINFORCE aims to keep.
        skip_penalty: weight of the distance to it; 0 for none.
        second_order: alternation looks one step of the weights ahead (DARTS, second order).
        recalibrate: training samples on which batch norms are measured anew for the ranking.
        workers: local processes for the ranking; 0 for this one.
        dask: address of a Dask scheduler for it, such as tcp://host:8786.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
        BudgetError: if not even one generation of architectures can be looked at.
    """

    epochs: int = 10
    learning_rate: float | None = 0.05
    schedule: Literal["one-cycle", "cosine", "plateau"] = "cosine"
    warmup: float = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    space: str = ""
    controller: ControllerName = "auto"
    sparsity: float = 0.9
    floor: int = 16
    children: int = 10
    controller_steps: int = 30
    controller_rate: float | None = None
    reward_samples: int = 256
    entropy: float = 1e-3
    skip_target: float = 0.4
    skip_penalty: float = 0.1
    second_order: bool = False
    recalibrate: int = 512
    workers: int = 0
    dask: str = ""

    def __post_init__(self) -> None:
        for field in ("epochs", "children", "controller_steps"):
            if getattr(self, field) < 1:
                raise BudgetError(
                    f"{field} {getattr(self, field)}: too few for one generation of "
                    "architectures; give at least 1"
                )
        super().__post_init__()
        check_sparsity(self.sparsity)
        known = ("auto", "reinforce", "alternation", "hypernet")
        if self.controller not in known:
            raise GoalError(f"controller '{self.controller}': give one of {', '.join(known)}")
        for field in ("floor", "reward_samples", "recalibrate"):
            if getattr(self, field) < 1:
                raise GoalError(f"{field} {getattr(self, field)}: at least 1 is needed")
        if self.controller_rate is not None and not self.controller_rate > 0:
            raise GoalError(f"controller_rate {self.controller_rate:g}: must be above 0")
        for field in ("entropy", "skip_penalty"):
            if not getattr(self, field) >= 0:
                raise GoalError(f"{field} {getattr(self, field):g}: must be 0 or more")
        if not 0 < self.skip_target < 1:
            raise GoalError(f"skip_target {self.skip_target:g}: give a share between 0 and 1")
        if self.ema or self.patience:
            raise GoalError("scas keeps its last epoch: give ema and patience to finetune")
