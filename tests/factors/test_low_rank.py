"""Low rank: the factors themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressc.factors.low_rank import (
    decompose_tucker,
    factor_weight,
    relative_error,
    spectra,
    split_svd,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(7, 5), (5, 9), (6, 4, 1, 1), (4, 6, 1)])
def test_svd_of_full_rank_is_exact(shape: tuple[int, ...]) -> None:
    weight = noise(*shape)
    factors = split_svd(weight, min(shape[:2]))
    torch.testing.assert_close(factors.product().reshape(shape), weight, rtol=0, atol=1e-12)
    assert relative_error(weight, factors) < 1e-13


def test_svd_is_the_best_of_its_rank_and_balanced() -> None:
    weight = noise(8, 6)
    factors = split_svd(weight, 3)
    (values,) = spectra(weight, 1)
    error = float(values[3:].norm() / values.norm())
    assert relative_error(weight, factors) == pytest.approx(error, rel=1e-10)
    torch.testing.assert_close(factors.expand.norm(dim=0), factors.reduce.norm(dim=1))


@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (12, 1, 3, 3), (5, 7, 3), (3, 4, 2, 1, 2)])
def test_tucker_of_full_rank_is_exact(shape: tuple[int, ...]) -> None:
    weight = noise(*shape)
    factors = decompose_tucker(weight, shape[0], shape[1])
    torch.testing.assert_close(factors.product(), weight, rtol=0, atol=1e-12)


def test_a_weight_of_low_rank_is_found_again() -> None:
    weight = torch.einsum("or,rskl,si->oikl", noise(9, 3), noise(3, 2, 3, 3), noise(2, 8))
    assert relative_error(weight, factor_weight(weight, (3, 2))) < 1e-13
    assert relative_error(weight, factor_weight(weight, (2, 2))) > 1e-2
    assert relative_error(weight, factor_weight(weight, (3, 1))) > 1e-2
    matrix = noise(9, 2) @ noise(2, 7)
    assert relative_error(matrix, factor_weight(matrix, (2,))) < 1e-13


@pytest.mark.parametrize("seed", range(4))
def test_refinement_is_never_worse_than_hosvd(seed: int) -> None:
    weight = noise(12, 10, 3, 3, seed=seed)
    errors = [
        relative_error(weight, decompose_tucker(weight, 5, 3, sweeps=sweeps))
        for sweeps in (0, 1, 2, 4)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] - 1e-4


def test_spectra_bound_the_error_of_hosvd() -> None:
    weight = noise(8, 6, 3, 3)
    lost = sum(
        float(values[rank:].square().sum())
        for values, rank in zip(spectra(weight, 2), (4, 3), strict=True)
    )
    error = relative_error(weight, decompose_tucker(weight, 4, 3, sweeps=0))
    assert error <= (lost**0.5) / float(weight.norm())
    assert all(len(v) == size for v, size in zip(spectra(weight, 2), (8, 6), strict=True))


def test_factors_have_the_weight_s_type_and_repeat_exactly() -> None:
    weight = noise(6, 6, 3, 3).float()
    first, second = factor_weight(weight, (3, 3)), factor_weight(weight.clone(), (3, 3))
    assert first.core is not None
    assert second.core is not None
    for left, right in zip(
        (first.expand, first.core, first.reduce),
        (second.expand, second.core, second.reduce),
        strict=True,
    ):
        assert left.dtype == torch.float32
        assert torch.equal(left, right)


def test_a_weight_of_zeros_stays_zero() -> None:
    weight = torch.zeros(4, 4)
    assert relative_error(weight, factor_weight(weight, (1,))) == 0.0
