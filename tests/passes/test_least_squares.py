import pytest
import torch

from compressc.passes.reconstruction.least_squares import NormalEquations


def problem(rows: int = 60, features: int = 7, outputs: int = 3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, rows, features, generator=generator, dtype=torch.double) + 2
    w = torch.randn(2, outputs, features, generator=generator, dtype=torch.double)
    noise = torch.randn(2, rows, outputs, generator=generator, dtype=torch.double)
    return x, w, x @ w.mT + 5 + 0.1 * noise


def equations(x, t, batches: int = 1) -> NormalEquations:
    made = NormalEquations(len(x), x.shape[2], t.shape[2], x.device)
    for part, goal in zip(x.chunk(batches, 1), t.chunk(batches, 1), strict=True):
        made.add(part, goal)
    return made


@pytest.mark.parametrize("batches", [1, 7])
def test_the_solution_is_that_of_ordinary_least_squares(batches):
    x, w, t = problem()
    found, constant = equations(x, t, batches).solve(torch.zeros_like(w), 0.0, intercept=True)
    extended = torch.cat([x, torch.ones_like(x[:, :, :1])], 2)
    expected = torch.linalg.lstsq(extended, t).solution.mT
    torch.testing.assert_close(found, expected[:, :, :-1])
    torch.testing.assert_close(constant, expected[:, :, -1])


def test_without_an_intercept_the_constant_stays_zero():
    x, w, t = problem()
    found, constant = equations(x, t).solve(w, 0.0, intercept=False)
    torch.testing.assert_close(found, torch.linalg.lstsq(x, t).solution.mT)
    assert not constant.any()


def test_the_ridge_pulls_towards_the_start():
    x, w, t = problem()
    start = torch.full_like(w, 3.0)
    made = equations(x, t)
    far = [made.solve(start, ridge, intercept=True)[0] - start for ridge in (1e-3, 1.0, 1e9)]
    norms = [float(change.norm()) for change in far]
    assert norms[0] > 1.1 * norms[1]
    assert norms[2] < 1e-5


def test_a_feature_that_is_always_zero_keeps_its_weight():
    x, w, t = problem()
    x[:, :, 3] = 0
    start = torch.full_like(w, 3.0)
    found, _ = equations(x, t).solve(start, 1e-6, intercept=True)
    torch.testing.assert_close(found[:, :, 3], start[:, :, 3])


def test_fewer_rows_than_features_have_a_solution_even_without_a_ridge():
    x, w, t = problem(rows=4)
    found, constant = equations(x, t).solve(torch.zeros_like(w), 0.0, intercept=True)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(x @ found.mT + constant[:, None], t, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_features_that_are_all_zero_keep_their_weights(ridge):
    x, w, t = problem()
    start = torch.full_like(w, 3.0)
    found, constant = equations(torch.zeros_like(x), t).solve(start, ridge, intercept=True)
    torch.testing.assert_close(found, start)
    torch.testing.assert_close(constant, t.mean(1))


def test_a_projection_gets_moments_that_can_be_inverted():
    x, w, t = problem()

    def project(free, moments):
        torch.linalg.cholesky(moments)
        return free

    equations(torch.zeros_like(x), t).solve(w, 1e-6, intercept=True, project=project)


def test_float32_rows_far_from_zero_lose_nothing():
    x, w, t = problem(rows=4000)
    x, t = x + 1000, t + x.new_tensor(1000.0)
    exact, _ = equations(x, t, 5).solve(torch.zeros_like(w), 1e-3, intercept=True)
    found, _ = equations(x.float(), t.float(), 5).solve(torch.zeros_like(w), 1e-3, intercept=True)
    torch.testing.assert_close(found, exact, atol=1e-3, rtol=1e-3)


def test_a_teacher_on_what_is_left_says_what_rows_of_it_say():
    x, w, _ = problem(rows=500)
    bias = torch.arange(6.0).double().view(2, 3)
    left = torch.rand(2, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    columns = torch.tensor([0, 1, 3, 4, 6])
    t = x @ w.mT + bias[:, None]
    whole = equations(x, x[:, :, :0], 3)
    told = NormalEquations.of_teacher(whole.moments(), left, columns, w, bias)
    rows = equations((x * left[:, None])[:, :, columns], t, 3)
    start = w[:, :, columns]
    for intercept in (True, False):
        for one, other in zip(
            told.solve(start, 1e-2, intercept=intercept),
            rows.solve(start, 1e-2, intercept=intercept),
            strict=True,
        ):
            torch.testing.assert_close(one, other)
