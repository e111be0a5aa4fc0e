import numpy as np
import torch

from compressc.passes.reconstruction.elimination import eliminate, make_consumer


def problem(units: int = 6, taps: int = 2, outputs: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    features = units * taps
    mix = torch.randn(features, features, generator=generator, dtype=torch.double)
    x = torch.randn(400, features, generator=generator, dtype=torch.double) @ mix
    w = torch.randn(outputs, features, generator=generator, dtype=torch.double)
    return x - x.mean(0), w, np.arange(features).reshape(units, taps)


def consumer(x, w, columns, units=None):
    units = np.arange(len(columns)) if units is None else units
    return make_consumer(w, x.mT @ x / len(x), columns, units, 1e-12)


def error_without(x, w, columns, gone) -> float:
    left = np.delete(columns, gone, axis=0).flatten()
    fit = torch.linalg.lstsq(x[:, left], x @ w.mT).solution
    return float((x[:, left] @ fit - x @ w.mT).square().sum() / len(x))


def test_each_step_adds_what_a_refit_says():
    x, w, columns = problem()
    added = eliminate([consumer(x, w, columns)], 6)
    order = np.argsort(added)
    alone = [error_without(x, w, columns, [unit]) for unit in range(6)]
    assert order[0] == int(np.argmin(alone))
    for count in (1, 2, 3):
        total = error_without(x, w, columns, order[:count])
        assert added[order[:count]].sum() >= total * (1 - 1e-6)
    np.testing.assert_allclose(added[order[0]], min(alone), rtol=1e-6)
    second = error_without(x, w, columns, order[:2]) - alone[order[0]]
    np.testing.assert_allclose(added[order[1]], max(second, alone[order[0]]), rtol=1e-6)


def test_of_two_equal_units_one_is_free_and_the_other_is_not():
    x, w, columns = problem()
    x[:, columns[4]] = x[:, columns[1]]
    added = eliminate([consumer(x, w, columns)], 6)
    cheap, dear = sorted(added[[1, 4]])
    assert cheap < 1e-6 * added.max()
    assert dear > 1e-3 * added.max()


def test_all_layers_that_read_a_unit_count():
    x, w, columns = problem()
    first = eliminate([consumer(x, w, columns)], 6)
    loud = int(np.argmin(first))
    other = torch.zeros_like(w)
    other[:, columns[loud]] = 100.0
    both = eliminate([consumer(x, w, columns), consumer(x, other, columns)], 6)
    assert np.argmax(both) == loud


def test_units_that_nobody_reads_leave_first():
    x, w, columns = problem()
    some = np.array([0, 2, 3])
    added = eliminate([consumer(x, w, columns[some], some)], 6)
    assert set(np.argsort(added)[:3]) == {1, 4, 5}


def test_values_never_fall_along_the_order_even_where_units_leave_together():
    x, w, columns = problem(units=140, taps=1)
    added = eliminate([consumer(x, w, columns)], 140)
    assert len(np.unique(added)) == 140
    assert (added > 0).all()


def test_features_that_are_all_zero_cost_nothing():
    x, w, columns = problem()
    added = eliminate([consumer(torch.zeros_like(x), w, columns)], 6)
    np.testing.assert_allclose(added, 0.0, atol=1e-12)
