"""The ramp: how many zeros there are at which moment of training."""

from __future__ import annotations

from dataclasses import dataclass

from compressc.errors import GoalError


@dataclass(frozen=True)
class Ramp:
    """A share of zeros that rises fast at first, while there is much to spare, and then slowly.

    Attributes:
        sparsity: the share at the end, from 0 to below 1.
        steps: how long it rises; from then on it stays.

    Source:
        Zhu and Gupta, To prune, or not to prune, 2017, equation 1, with an initial sparsity of 0.

    Raises:
        GoalError: if the share is out of range, or the ramp has no step.
    """

    sparsity: float
    steps: int

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        if self.steps < 1:
            raise GoalError(f"a ramp of {self.steps} steps: at least 1 is needed")

    def at(self, step: int) -> float:
        """Return the share of zeros after so many steps: s (1 - (1 - t/T)^3)."""
        left = 1 - min(step, self.steps) / self.steps
        return self.sparsity * (1 - left**3)


def check_sparsity(sparsity: float) -> None:
    """Check that a share of zeros leaves something.

    Raises:
        GoalError: if it does not.
    """
    if not 0 <= sparsity < 1:
        raise GoalError(
            f"sparsity {sparsity:g}: give a share of zeros from 0 (none) to below 1, such as 0.9"
        )
