"""Least squares from normal equations that grow batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from compressc.errors import DataError

# Far below the rounding of any features that carry something.
_LEAST_DAMPING = 1e-30


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of features.

    Shape:
        mean (conv_groups, features), covariance (conv_groups, features, features).
    """

    mean: Tensor
    covariance: Tensor


class NormalEquations:
    """Sums that determine ``min ||X W^T + c - T||^2 + ridge ||W - W0||^2``, in float64.

    X and T are centred afterwards, so the intercept c is free of the ridge. Only sums over rows
    are kept: memory does not grow with the number of rows. Rows are multiplied in the precision
    that they come in, about an origin near their mean, so that float32 loses nothing to it.

    Shape:
        per conv group g of ``conv_groups``: X (rows, features), T (rows, outputs); W (outputs,
        features); c (outputs,).
    """

    def __init__(self, conv_groups: int, features: int, outputs: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(conv_groups, *shape, dtype=torch.float64, device=device)

        self.rows = 0
        self._gram, self._cross = zeros(features, features), zeros(features, outputs)
        self._sum_x, self._sum_t = zeros(features), zeros(outputs)
        # What is subtracted from every row: the mean of the first ones.
        self._origin_x, self._origin_t = zeros(features), zeros(outputs)

    @classmethod
    def of_teacher(
        cls, moments: Moments, left: Tensor, columns: Tensor, weights: Tensor, bias: Tensor
    ) -> NormalEquations:
        """Return the sums where T is what a layer makes of all features, and X what is left.

        Args:
            moments: of all features.
            left: which features are left; the others are zero in X.
            columns: which features X holds at all, int64.
            weights: of the layer, over all features.
            bias: of the layer.

        Shape:
            left (conv_groups, all features), columns (features,), weights (conv_groups, outputs,
            all features), bias (conv_groups, outputs).
        """
        weights, mean = weights.double(), moments.mean.double()
        stays = left[:, columns].double()
        # What is left against everything there was.
        against = moments.covariance[:, columns].double() * stays[:, :, None]
        equations = cls(len(mean), len(columns), weights.shape[1], mean.device)
        equations.rows = 1
        equations._origin_x = mean[:, columns] * stays
        equations._origin_t = (weights @ mean[:, :, None])[:, :, 0] + bias.double()
        equations._gram = against[:, :, columns] * stays[:, None, :]
        equations._cross = against @ weights.mT
        return equations

    def add(self, x: Tensor, t: Tensor) -> None:
        """Add rows.

        Shape:
            x (conv_groups, rows, features), t (conv_groups, rows, outputs).
        """
        if not self.rows:
            self._origin_x, self._origin_t = x.mean(1).double(), t.mean(1).double()
        x = x - self._origin_x[:, None].to(x.dtype)
        t = (t - self._origin_t[:, None].to(t.dtype)).to(x.dtype)
        self.rows += x.shape[1]
        self._gram += x.mT @ x
        self._cross += x.mT @ t
        self._sum_x += x.sum(1)
        self._sum_t += t.sum(1)

    def moments(self) -> Moments:
        """Return mean and covariance of the features."""
        return Moments(self._mean_x, self._covariance)

    @property
    def _mean_x(self) -> Tensor:
        return self._origin_x + self._sum_x / self.rows

    @property
    def _mean_t(self) -> Tensor:
        return self._origin_t + self._sum_t / self.rows

    @property
    def _covariance(self) -> Tensor:
        off = self._sum_x / self.rows
        return self._gram / self.rows - off[:, :, None] * off[:, None, :]

    @property
    def _cross_covariance(self) -> Tensor:
        off_x, off_t = self._sum_x / self.rows, self._sum_t / self.rows
        return self._cross / self.rows - off_x[:, :, None] * off_t[:, None, :]

    def solve(
        self,
        start: Tensor,
        ridge: float,
        *,
        intercept: bool,
        project: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the weights and the intercept (zeros where none is wanted).

        Args:
            start: the weights that the ridge pulls towards, (conv_groups, outputs, features).
            ridge: strength as a share of the mean square of the features.
            intercept: whether a constant may be added to each output.
            project: takes the free solution and the second moments of the features, damped by the
                ridge, to the best weights of some form; None where all weights are free.

        Shape:
            weights (conv_groups, outputs, features), intercept (conv_groups, outputs), float64.
        """
        start = start.double()
        mean_x, mean_t = self._mean_x, self._mean_t
        moments, cross = self._covariance, self._cross_covariance
        if not intercept:
            moments = moments + mean_x[:, :, None] * mean_x[:, None, :]
            cross = cross + mean_x[:, :, None] * mean_t[:, None, :]
        diagonal = moments.diagonal(dim1=1, dim2=2)
        strength = damping(diagonal.mean(1), ridge)
        damped = moments + torch.diag_embed(strength[:, None].expand_as(diagonal))
        # Solving for the change makes the ridge pull towards the start.
        weights = start + solve_positive(damped, cross - moments @ start.mT).mT
        if project is not None:
            weights = project(weights, damped)
        if not intercept:
            return weights, torch.zeros_like(mean_t)
        return weights, mean_t - (weights @ mean_x[:, :, None])[:, :, 0]


def damping(power: Tensor, ridge: float) -> Tensor:
    """Return what a ridge adds to second moments of a mean ``power``; never 0.

    Features that are all zero, behind channels that never fire, then keep their weights. Every
    closed form passes here, so this is where numbers that are none are refused.

    Raises:
        DataError: if the power is no finite number.
    """
    if not bool(torch.isfinite(power).all()):
        raise DataError(
            "what the network computes on these samples is not finite (NaN or infinity), so that "
            "no weights can be fitted; check the samples and their normalization"
        )
    return (ridge * power).clamp_min(_LEAST_DAMPING)


def solve_positive(gram: Tensor, right: Tensor) -> Tensor:
    """Return what a positive matrix takes to ``right``, of least norm where it is singular.

    Shape:
        gram (..., n, n), right (..., n, k); the result as right.
    """
    factor, failures = torch.linalg.cholesky_ex(gram)
    if not failures.any():
        return torch.cholesky_solve(right, factor)
    solution: Tensor = torch.linalg.pinv(gram, hermitian=True) @ right
    return solution
