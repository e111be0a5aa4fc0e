import numpy as np
import pytest
import torch

from compressc.factors.low_rank import decompose_tucker, split_svd
from compressc.passes.reconstruction import constrained_fit
from compressc.passes.reconstruction.constrained_fit import LowRank, Support, descend

TAPS = 4


def problem(outputs: int = 6, channels: int = 5, seed: int = 0):
    """Return a free solution and moments of features that are far from white."""
    generator = torch.Generator().manual_seed(seed)
    features = channels * TAPS
    free = torch.randn(1, outputs, features, generator=generator, dtype=torch.double)
    mix = torch.randn(features, features, generator=generator, dtype=torch.double)
    moments = mix @ torch.diag(torch.logspace(0, -2, features, dtype=torch.double)) @ mix.T
    return free, moments[None]


def loss(weights, free, moments) -> float:
    miss = weights - free
    return float((miss @ moments @ miss.mT).diagonal(dim1=1, dim2=2).sum())


def rank_of(matrix) -> int:
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-8))


def test_a_support_is_least_squares_over_the_features_that_stay():
    free, moments = problem()
    mask = torch.rand(free.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    mask[0, 2] = False
    found = Support(mask).project(free, moments)
    root = np.linalg.cholesky(moments[0].numpy()).T
    for output, alive in enumerate(mask[0].numpy()):
        expected = np.zeros(len(alive))
        wanted = root @ free[0, output].numpy()
        expected[alive] = np.linalg.lstsq(root[:, alive], wanted, rcond=None)[0]
        np.testing.assert_allclose(found[0, output].numpy(), expected, atol=1e-9)


def test_a_support_of_features_that_never_vary_has_a_solution():
    free, moments = problem()
    moments[0, 3], moments[0, :, 3] = 0, 0
    found = Support(torch.ones_like(free, dtype=torch.bool)).project(free, moments)
    assert loss(found, free, moments) < 1e-12
    assert torch.isfinite(found).all()


def test_a_matrix_of_low_rank_is_the_best_one():
    free, moments = problem()
    found = LowRank((3,), 1).project(free, moments)
    assert rank_of(found[0]) == 3
    root = torch.linalg.cholesky(moments[0])
    values = torch.linalg.svdvals(free[0] @ root)
    assert loss(found, free, moments) == pytest.approx(float((values[3:] ** 2).sum()))
    plain = split_svd(free[0], 3).product()[None]
    assert loss(found, free, moments) < 0.9 * loss(plain, free, moments)


def unfoldings(weights, channels: int = 5):
    cube = weights[0].reshape(len(weights[0]), channels, TAPS)
    return cube.flatten(1), cube.transpose(0, 1).flatten(1)


@pytest.mark.parametrize("seed", range(5))
def test_tucker_weights_have_their_ranks_and_beat_those_that_know_no_data(seed):
    free, moments = problem(seed=seed)
    found = LowRank((4, 3), TAPS).project(free, moments)
    assert [rank_of(matrix) for matrix in unfoldings(found)] == [4, 3]
    plain = decompose_tucker(free[0].reshape(6, 5, TAPS), 4, 3).product().reshape(free.shape)
    assert loss(found, free, moments) < 0.9 * loss(plain, free, moments)


def test_weights_that_have_the_ranks_stay():
    free, moments = problem()
    factors = decompose_tucker(free[0].reshape(6, 5, TAPS), 4, 3)
    low = factors.product().reshape(free.shape)
    torch.testing.assert_close(LowRank((4, 3), TAPS).project(low, moments), low)


@pytest.mark.parametrize("share", [0.7, 0.3])
def test_descending_together_comes_to_what_each_system_says(share, monkeypatch):
    free, moments = problem(outputs=700, channels=30)
    moments = moments + 1e-3 * moments.diagonal(dim1=1, dim2=2).mean() * torch.eye(120)
    mask = torch.rand(free.shape, generator=torch.Generator().manual_seed(1)) < share
    mask[0, 2] = False
    exact = Support(mask).project(free, moments)
    monkeypatch.setattr(constrained_fit, "_MOST_SOLVED", 0)
    found = Support(mask).project(free, moments)
    assert not torch.equal(found, exact)
    assert found[~mask].abs().max() == 0
    least = loss(exact, free, moments)
    assert least * (1 - 1e-12) <= loss(found, free, moments) < 1.0001 * least
    assert loss(free * mask, free, moments) > 1.5 * least


def test_features_that_are_all_zero_harm_nothing_when_descending():
    free, moments = problem()
    moments[:, 3] = moments[:, :, 3] = 0.0
    mask = torch.ones_like(free, dtype=torch.bool)
    mask[:, :, 0] = False
    found = descend(free[0], moments[0], mask[0])
    assert torch.isfinite(found).all()
    assert loss(found[None], free, moments) <= loss(free * mask, free, moments)
