"""A reading of the weights, and what batches say to the factors that it gave."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Reading:
    """Factors of one reading of the weights, and the gradients that batches gave them.

    Args:
        factors: with the graph of the switchers behind them.

    Attributes:
        factors: what the network runs under; gradients stop here.
    """

    def __init__(self, factors: Sequence[Tensor]) -> None:
        self._behind = list(factors)
        self.factors = [each.detach().requires_grad_() for each in factors]
        self._sums = [torch.zeros_like(each) for each in self.factors]
        self._losses: list[Tensor] = []

    @property
    def batches(self) -> int:
        """How many batches were added."""
        return len(self._losses)

    @property
    def loss(self) -> Tensor:
        """The mean loss of the batches."""
        return torch.stack(self._losses).mean()

    def add(self, loss: Tensor) -> None:
        """Collect the gradients of one batch's loss."""
        gradients = torch.autograd.grad(loss, self.factors)
        for total, gradient in zip(self._sums, gradients, strict=True):
            total += gradient
        self._losses.append(loss.detach())

    def backward(self) -> None:
        """Give the switchers the mean gradient."""
        learning = [
            (each, total / self.batches)
            for each, total in zip(self._behind, self._sums, strict=True)
            if each.requires_grad
        ]
        if not learning:
            return
        torch.autograd.backward(
            [each for each, _ in learning], [gradient for _, gradient in learning]
        )
