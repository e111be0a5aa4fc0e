"""Elimination: in which order units leave when the others make up for them as well as they can."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressc.array_types import FloatArray, IntArray
from compressc.passes.reconstruction.least_squares import damping

# At most this share of the units left leaves in one step.
_SHARE = 64
_LEAST = 1e-30
_MOST = float(torch.finfo(torch.float64).max)


@dataclass(eq=False)
class Consumer:
    """One layer that reads units of a group, while they leave one after the other.

    Attributes:
        weights: what is left of them, adapted to what left so far, (outputs, features).
        inverse: inverse covariance of the features that are left, (features, features).
        columns: features of each unit that the layer reads, (units read, taps).
        units: which units these are, (units read,).
    """

    weights: Tensor
    inverse: Tensor
    columns: Tensor
    units: Tensor

    def damage(self, alive: Tensor) -> Tensor:
        """Return the error that each unit alone would add, after the best compensation.

        Shape:
            alive (units,) bool; result (units,), 0 for units that the layer does not read.
        """
        result = torch.zeros(len(alive), dtype=torch.float64)
        read = alive[self.units]
        columns = self.columns[read]
        blocks = self._blocks(columns)
        weights = self.weights[:, columns].movedim(0, 1)
        result[self.units[read]] = ((weights @ torch.linalg.inv(blocks)) * weights).sum((1, 2))
        return result

    def remove(self, leaving: Tensor) -> None:
        """Remove units and let the others make up for them.

        Shape:
            leaving (units that leave,) int64.
        """
        columns = self.columns[torch.isin(self.units, leaving)].flatten()
        if not len(columns):
            return
        rows = self.inverse[columns]
        gain = torch.linalg.solve(rows[:, columns], rows)
        self.weights = self.weights - self.weights[:, columns] @ gain
        self.inverse = self.inverse - self.inverse[:, columns] @ gain

    def _blocks(self, columns: Tensor) -> Tensor:
        return self.inverse[columns[:, :, None], columns[:, None, :]]


def make_consumer(
    weights: Tensor, covariance: Tensor, columns: IntArray, units: IntArray, ridge: float
) -> Consumer:
    """Return a consumer that still reads everything.

    Args:
        weights: (outputs, features), scaled so that squared errors of outputs compare.
        covariance: of the features, float64.
        columns: features of each unit read, (units read, taps).
        units: which units these are.
        ridge: added to the covariance, as a share of its mean diagonal.
    """
    strength = damping(covariance.diagonal().mean(), ridge)
    damped = covariance + strength * torch.eye(len(covariance), dtype=torch.float64)
    return Consumer(
        weights.double(),
        torch.linalg.inv(damped),
        torch.as_tensor(columns),
        torch.as_tensor(units),
    )


def eliminate(consumers: list[Consumer], units: int) -> FloatArray:
    """Return the error that each unit adds when it leaves, the least harmful leaving first.

    The values never fall along the order of leaving, so that sorting by them gives the order back.

    Source:
        Hassibi and Stork, Second Order Derivatives for Network Pruning: Optimal Brain Surgeon,
        NeurIPS 1992, for whole units and the squared error of the layers that read them.

    Deviations:
        In groups of over 64 units several leave in one step.

    Shape:
        result (units,), float64.
    """
    alive = torch.ones(units, dtype=torch.bool)
    added = torch.zeros(units, dtype=torch.float64)
    worst = 0.0
    while alive.any():
        damage = sum((consumer.damage(alive) for consumer in consumers), torch.zeros(units))
        # Units that have left come last, whatever the numbers: the set shrinks every time.
        bounded = damage.nan_to_num(nan=_MOST, posinf=_MOST)
        damage = torch.where(alive, bounded, torch.inf)
        count = max(1, int(alive.sum()) // _SHARE)
        leaving = damage.argsort(stable=True)[:count]
        for unit in leaving.tolist():
            # A nudge keeps the order of units that do equal harm.
            worst = max(worst * (1 + 1e-12), float(damage[unit]), _LEAST)
            added[unit] = worst
        alive[leaving] = False
        for consumer in consumers:
            consumer.remove(leaving)
    result: FloatArray = added.numpy()
    return result
