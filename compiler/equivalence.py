"""The proof that lowering changed nothing: lowered(x) == masked(x), in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compressc.frontend.trainable import clone_module
from compressc.masking import masked
from compressc.program import Program

# Relative to how much the output varies over inputs. Float64 rounding stays below 1e-9 on every
# network tried; a single wrong channel is above 1e-4.
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Equivalence:
    """The verdict of one comparison.

    Attributes:
        max_error: largest absolute difference between the two outputs.
        variation: standard deviation of the reference output over the inputs tried, smallest over
            output tensors that vary at all.
        relative_error: largest ratio of an output's error to its variation.
        tolerance: bound on ``relative_error``.
        passed: whether every output is finite, has the right shape and is within tolerance.
    """

    max_error: float
    variation: float
    relative_error: float
    tolerance: float
    passed: bool


def random_inputs(examples: Sequence[Tensor], seed: int) -> tuple[Tensor, ...]:
    """Return inputs of the examples' shapes: normal noise, or the examples' own integers."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(x.shape, generator=generator, dtype=torch.float64)
        if x.is_floating_point()
        else x
        for x in examples
    )


def compare_modules(
    reference: nn.Module,
    candidate: nn.Module,
    inputs: Sequence[Any],
    tolerance: float = TOLERANCE,
) -> Equivalence:
    """Compare two modules on the same inputs, judged by how much the reference varies.

    An output that is the same whatever the input has no variation; it must agree absolutely to
    the tolerance times its magnitude.
    """
    with torch.no_grad():
        wanted = _tensors(reference(*inputs))
        found = _tensors(candidate(*inputs))
    worst, largest, variation = 0.0, 0.0, float("inf")
    passed = len(wanted) == len(found)
    for want, got in zip(wanted, found, strict=False):
        if want.shape != got.shape or not bool(torch.isfinite(got).all()):
            return Equivalence(float("inf"), 0.0, float("inf"), tolerance, False)
        want, got = want.double(), got.double()
        error = float((want - got).abs().max()) if want.numel() else 0.0
        spread = _variation(want)
        variation = min(variation, spread) if spread else variation
        scale = spread or float(want.abs().max()) or 1.0
        worst, largest = max(worst, error / scale), max(largest, error)
    return Equivalence(largest, variation, worst, tolerance, passed and worst <= tolerance)


def _tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def _variation(output: Tensor) -> float:
    """Return the typical change of an element from one sample to another."""
    if output.dim() == 0 or output.shape[0] < 2:
        return float(output.std()) if output.numel() > 1 else 0.0
    return float(output.std(dim=0).median())


def prove(program: Program, lowered: Program, seed: int = 0) -> Equivalence:
    """Compare ``lowered`` with the masked form of ``program`` in float64 on random inputs."""
    reference = clone_module(masked(program)).double()  # type: ignore[arg-type]
    candidate = clone_module(lowered.graph_module).double()
    return compare_modules(reference, candidate, random_inputs(program.example_inputs, seed))
