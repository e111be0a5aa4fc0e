"""Judged weights: the settings by which a search judges what is handed over, not what is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressc.clock import ProgressCallback
from compressc.errors import GoalError
from compressc.passes.reconstruction.moment_repair import MomentRepair, measure_moment_repair
from compressc.program import Program
from compressc.tasks.protocol import Task, draw_samples


@dataclass(frozen=True)
class JudgedWeights:
    """With which weights candidates are judged.

    Attributes:
        judge: "repaired": the layers of every candidate are refitted by least squares, as those of
            the result will be; or "as-cut": they keep the weights of the original, as in the
            papers.
        repair_samples: unlabelled training samples from which the least squares are made, once.
        finalists: how many of the best candidates have their layers refitted once more, one after
            the other on the samples themselves, before the best of them is chosen; 0 for none.
        repair_ridge: pull towards the original weights, as a share of the mean square of a feature.

    Raises:
        GoalError: if a value is unknown or out of range.
    """

    judge: Literal["repaired", "as-cut"] = "repaired"
    repair_samples: int = 512
    finalists: int = 3
    repair_ridge: float = 1e-3

    def __post_init__(self) -> None:
        if self.judge not in ("repaired", "as-cut"):
            raise GoalError(f"judge '{self.judge}' is unknown; give repaired or as-cut")
        if self.repair_samples < 1:
            raise GoalError(f"repair_samples {self.repair_samples}: at least 1 is needed")
        if self.finalists < 0:
            raise GoalError(f"finalists {self.finalists}: must be 0 or more")
        if not self.repair_ridge >= 0:
            raise GoalError(f"repair_ridge {self.repair_ridge:g}: must be 0 or more")

    def open_repair(
        self, program: Program, task: Task, seed: int, user: str, progress: ProgressCallback
    ) -> MomentRepair | None:
        """Return what repairs candidates; None where they are judged as they are cut.

        Args:
            program: the original; a pending plan is ignored.
            task: gives the samples.
            seed: decides which.
            user: the pass, for errors.
            progress: called with (done, total, text).

        Raises:
            DataError: if the task gives no samples.
        """
        if self.judge == "as-cut":
            return None
        batches = draw_samples(task, self.repair_samples, seed, user)
        return measure_moment_repair(program, batches, self.repair_ridge, progress)
