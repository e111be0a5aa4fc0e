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

# Up to so many features each output has its system solved; beyond, all outputs descend together.
_MOST_SOLVED = 1024
_ROWS_AT_A_TIME = 512
# Residual, beside the right side, at which weights are exact enough: the data is far noisier.
_TOLERANCE = 1e-4
_MOST_STEPS = 300


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
        solve = _solve_each if free.shape[2] <= _MOST_SOLVED else descend
        groups = zip(free, moments, self.mask, strict=True)
        return torch.stack([solve(*group) for group in groups])


def _solve_each(free: Tensor, gram: Tensor, mask: Tensor) -> Tensor:
    """Return the weights of one conv group, one linear system solved after the other."""
    solution = torch.zeros_like(free)
    products = free @ gram
    for output, alive in enumerate(mask):
        places = alive.nonzero()[:, 0]
        if len(places):
            part = gram[places][:, places]
            right = products[output, places, None]
            solution[output, places] = solve_positive(part, right)[:, 0]
    return solution


def descend(free: Tensor, gram: Tensor, mask: Tensor) -> Tensor:
    """Return the weights of one conv group by conjugate gradients, many outputs at a time.

    A system of thousands of features for every output would take hours. Here a step for all of
    them is one matrix product, and a few tens of steps do: the ridge bounds the condition.

    Source:
        Hestenes and Stiefel, 1952; preconditioned by the diagonal.

    Shape:
        free (outputs, features), gram (features, features), mask as free, bool; the result as free.
    """
    diagonal = gram.diagonal().clamp_min(torch.finfo(gram.dtype).tiny)
    parts = [slice(at, at + _ROWS_AT_A_TIME) for at in range(0, len(free), _ROWS_AT_A_TIME)]
    return torch.cat([_descend_rows(free[part], gram, mask[part], diagonal) for part in parts])


def _descend_rows(rows: Tensor, gram: Tensor, alive: Tensor, diagonal: Tensor) -> Tensor:
    right = (rows @ gram) * alive
    weights = rows * alive
    residual = right - (weights @ gram) * alive
    scaled = residual / diagonal
    direction, worth = scaled, (residual * scaled).sum(1, keepdim=True)
    enough = _TOLERANCE**2 * (right.square() / diagonal).sum(1, keepdim=True)
    tiny = torch.finfo(gram.dtype).tiny
    for _ in range(_MOST_STEPS):
        if bool((worth <= enough).all()):
            break
        along = (direction @ gram) * alive
        length = worth / (direction * along).sum(1, keepdim=True).clamp_min(tiny)
        weights = weights + length * direction
        residual = residual - length * along
        scaled = residual / diagonal
        last, worth = worth, (residual * scaled).sum(1, keepdim=True)
        direction = scaled + worth / last.clamp_min(tiny) * direction
    return weights


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
