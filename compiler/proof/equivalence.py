"""The proof that lowering changed nothing: lowered(x) == masked(x), in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compressc.graphs.trainable import clone_module
from compressc.lowering.lowered import lower
from compressc.program import Program
from compressc.proof.double_precision import doubled
from compressc.proof.masking import masked
from compressc.proof.randomization import random_inputs, randomized

# Relative to how much the output varies over inputs. Float64 rounding stays below 1e-9 on every
# network tried; a single wrong channel is above 1e-4.
TOLERANCE = 1e-7

# An output that varies less than this part of its magnitude says nothing about errors.
_FLOOR = 1e-6


@dataclass(frozen=True)
class Equivalence:
    """The verdict of one comparison.

    Attributes:
        max_error: largest absolute difference between the two outputs.
        variation: standard deviation of the reference output over the inputs tried, the smallest
            over output tensors.
        relative_error: largest ratio of an output's error to its variation.
        tolerance: bound on ``relative_error``.
        informative: whether every output varies enough for an error to show.
        passed: whether every output is finite, has the right shape and is within tolerance.
    """

    max_error: float
    variation: float
    relative_error: float
    tolerance: float
    informative: bool
    passed: bool


def compare_modules(
    reference: nn.Module,
    candidate: nn.Module,
    inputs: Sequence[Any],
    tolerance: float = TOLERANCE,
) -> Equivalence:
    """Compare two modules on the same inputs, judged by how much the reference varies.

    An output that is nearly the same whatever the input must agree to the tolerance times a
    millionth of its magnitude, and the verdict says that it was not informative.
    """
    with torch.no_grad():
        expected = _tensors(reference(*inputs))
        computed = _tensors(candidate(*inputs))
    worst, largest, variation, informative = 0.0, 0.0, float("inf"), True
    passed = len(expected) == len(computed)
    for want, got in zip(expected, computed, strict=False):
        if want.shape != got.shape or not bool(torch.isfinite(got).all()):
            return Equivalence(float("inf"), 0.0, float("inf"), tolerance, True, False)
        want, got = want.double(), got.double()
        error = float((want - got).abs().max()) if want.numel() else 0.0
        spread = _variation(want)
        magnitude = float(want.abs().max()) if want.numel() else 0.0
        scale = max(spread, _FLOOR * magnitude) or 1.0
        informative = informative and spread > _FLOOR * magnitude
        variation = min(variation, spread)
        worst, largest = max(worst, error / scale), max(largest, error)
    passed = passed and worst <= tolerance
    return Equivalence(largest, variation, worst, tolerance, informative, passed)


def _tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def _variation(output: Tensor) -> float:
    """Return the typical change of an element from one sample to another."""
    if output.dim() == 0 or output.shape[0] < 2:
        return float(output.std()) if output.numel() > 1 else 0.0
    return float(output.std(dim=0).median())


def prove(program: Program, lowered: Program, seed: int = 0) -> Equivalence:
    """Compare ``lowered`` with the masked form of ``program`` in float64 on random inputs.

    Where the model's own weights make an output that hardly depends on the input, agreement says
    little; then the same plan is proven again with random weights.
    """
    verdict = compare_modules(
        doubled(clone_module(masked(program))),
        doubled(clone_module(lowered.graph_module)),
        random_inputs(program.example_inputs, seed),
    )
    if verdict.informative or not verdict.passed:
        return verdict
    drawn = randomized(program, seed)
    return compare_modules(
        masked(drawn), lower(drawn).graph_module, random_inputs(program.example_inputs, seed)
    )
