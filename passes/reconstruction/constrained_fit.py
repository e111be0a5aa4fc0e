"""Least squares under what a plan asks of a weight: zeros at given places, or low ranks.

Both start from the free solution F and the second moments D of the features: every W has the
error ``tr((W - F) D (W - F)^T)`` above that of F, so the data is not needed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressc.factors.low_rank import decompose_tucker
from compressc.passes.reconstruction.least_squares import solve_positive


@dataclass(frozen=True, eq=False)
class Support:
    """Weights that may differ from zero; bool, shape (conv_groups, outputs, features)."""

    mask: Tensor

    def project(self, free: Tensor, moments: Tensor) -> Tensor:
        """Return the best weights that are zero elsewhere; each output has a system of its own.

        Shape:
            free (conv_groups, outputs, features), moments (conv_groups, features, features);
            the result as free.
        """
        solution = torch.zeros_like(free)
        for group, (weights, gram) in enumerate(zip(free, moments, strict=True)):
            products = weights @ gram
            for output, alive in enumerate(self.mask[group]):
                places = alive.nonzero()[:, 0]
                if len(places):
                    part = gram[places][:, places]
                    solution[group, output, places] = solve_positive(
                        part, products[output, places, None]
                    )[:, 0]
        return solution


@dataclass(frozen=True)
class LowRank:
    """Ranks (r,) of a matrix, or (r_out, r_in) of a convolution with so many taps per channel."""

    ranks: tuple[int, ...]
    taps: int

    def project(self, free: Tensor, moments: Tensor) -> Tensor:
        """Return weights of these ranks: the best, for Tucker-2 given the input factor.

        The input factor is that of the weight in units of what its channels carry (taps taken for
        independent). Given it, the layer is free again in fewer features; the outputs that follow
        are those that vary most.

        Shape:
            free (1, outputs, features), moments (1, features, features); the result as free.
        """
        weights, gram = free[0], moments[0]
        if len(self.ranks) == 2:
            reduced = self._reduce(weights, gram)
            inner = reduced @ gram @ reduced.T
            weights = solve_positive(inner, reduced @ gram @ weights.T).T
            return (_strongest(weights, inner, self.ranks[0]) @ reduced)[None]
        return _strongest(weights, gram, self.ranks[0])[None]

    def _reduce(self, weights: Tensor, gram: Tensor) -> Tensor:
        """Return what takes all features to those behind the input factor."""
        outputs, channels = len(weights), weights.shape[1] // self.taps
        carried = gram.reshape(channels, self.taps, channels, self.taps)
        root, inverse = _roots(carried.diagonal(dim1=1, dim2=3).mean(2))
        scaled = torch.einsum("oik,ij->ojk", weights.reshape(outputs, channels, -1), root)
        factors = decompose_tucker(scaled, *self.ranks)
        basis = torch.linalg.qr((factors.reduce @ inverse).T).Q.T
        return torch.kron(basis, torch.eye(self.taps, dtype=basis.dtype, device=basis.device))


Constraint = Support | LowRank


def _strongest(weights: Tensor, moments: Tensor, rank: int) -> Tensor:
    """Return the weights with their outputs confined to where those vary most."""
    directions = torch.linalg.eigh(weights @ moments @ weights.T).eigenvectors[:, -rank:]
    confined: Tensor = directions @ (directions.T @ weights)
    return confined


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square root of a positive matrix and its inverse."""
    values, vectors = torch.linalg.eigh(matrix)
    smallest = values[-1].clamp_min(torch.finfo(values.dtype).tiny) * 1e-12
    roots = values.clamp_min(smallest).sqrt()
    return vectors * roots @ vectors.T, vectors / roots @ vectors.T
