"""ASCAI: Eq. 3 and 4, selection, crossover, mutation."""

from __future__ import annotations

from dataclasses import replace
from math import exp, nan

import numpy as np
import pytest

from compressc.passes.ascai.scoring import Scoring
from compressc.passes.ascai.variation import Variation, select
from compressc.passes.spaces.space_building import build_space
from compressc.passes.unit_features.registry import measure_feature
from tests.search_kit import trained

SCORING = Scoring(base_metric=93.0, threshold=90.0, original=200.0, least_penalty=0.5)


def test_above_the_threshold_the_loss_is_the_penalty():
    assert SCORING.score(100.0, 92.0) == pytest.approx(0.5 / 1.0)
    assert SCORING.score(50.0, 90.0) == pytest.approx(0.75 / 3.0)


def test_below_the_threshold_the_exponential_comes_on_top():
    assert SCORING.score(100.0, 88.0) == pytest.approx(0.5 / (5.0 + exp(2.0)))
    assert 0 < SCORING.score(1.0, 10.0) < 1e-30
    assert SCORING.score(1.0, -1e9) == pytest.approx(0.0)


@pytest.mark.parametrize("metric", [93.0, 92.9, 94.5])
def test_the_denominator_never_reaches_zero(metric):
    assert SCORING.score(100.0, metric) == pytest.approx(0.5 / 0.5)


def test_smaller_is_better_where_nothing_is_lost():
    assert SCORING.score(50.0, 94.0) > SCORING.score(100.0, 93.5) > SCORING.score(200.0, 99.0) == 0
    assert SCORING.score(300.0, 93.0) < 0


def test_beyond_a_bound_only_the_metric_counts():
    bounded = replace(SCORING, most_saved=0.5)
    assert bounded.score(20.0, 91.0) == bounded.score(100.0, 91.0) == SCORING.score(100.0, 91.0)
    assert bounded.score(20.0, 91.0) < bounded.score(100.0, 91.1)
    assert bounded.score(150.0, 91.0) == SCORING.score(150.0, 91.0)


def test_a_metric_that_is_no_number_is_worth_nothing():
    assert SCORING.score(50.0, nan) == 0
    assert not SCORING.accepts(nan)


def test_selection_is_proportional_to_what_beats_the_worst():
    rng = np.random.default_rng(0)
    scores = np.array([1.0, 2.0, 4.0, 1.0])
    drawn = np.concatenate([select(scores, rng) for _ in range(4000)])
    share = np.bincount(drawn, minlength=4) / len(drawn)
    # Five standard deviations of 16,000 draws; the worst are never drawn.
    assert share[0] == share[3] == 0
    assert abs(share[1] - 0.25) < 5 * np.sqrt(0.25 * 0.75 / len(drawn))
    assert len(set(select(np.full(50, 3.0), rng).tolist())) > 20


def space():
    program, _ = trained()
    return build_space(program, ("ps", "svd"), measure_feature(program, "l1"))


def test_crossover_exchanges_coordinates_of_neighbours_only():
    rng = np.random.default_rng(1)
    population = np.arange(5)[:, None] + np.zeros(400)
    crossed = Variation(1.0, 0.3, 0.0, 0.0).cross(population, rng)
    for first in (0, 2):
        pair = crossed[first : first + 2]
        assert set(np.unique(pair)) == {first, first + 1}
        assert (pair.sum(axis=0) == 2 * first + 1).all()
        assert 0.2 < (pair[0] != first).mean() < 0.4
    assert (crossed[4] == 4).all()
    assert (population == np.arange(5)[:, None]).all()


def test_pairs_are_crossed_as_often_as_asked():
    rng = np.random.default_rng(2)
    population = np.arange(2000)[:, None] + np.zeros(8)
    crossed = Variation(0.25, 1.0, 0.0, 0.0).cross(population, rng)
    assert 0.2 < (crossed != population).any(axis=1).mean() < 0.3


def test_mutation_adds_noise_to_shares_and_one_to_steps():
    found, rng = space(), np.random.default_rng(3)
    population = np.full((4000, len(found.coordinates)), 0.5)
    population[:, found.discrete] = 4.0
    change = Variation(0.0, 0.0, 0.5, 0.4).mutate(found, population, rng) - population
    touched = (change != 0).any(axis=1)
    wanted = 0.5 * (1 - 0.6 ** len(found.coordinates))
    assert touched.mean() == pytest.approx(wanted, abs=0.03)
    shares, steps = change[:, ~found.discrete], change[:, found.discrete]
    assert shares[shares != 0].std() == pytest.approx(0.2, abs=0.02)
    assert set(np.unique(steps)) == {-1.0, 0.0, 1.0}
    assert steps[steps != 0].mean() == pytest.approx(0.0, abs=0.1)
    assert (steps != 0).mean() == pytest.approx(0.5 * 0.4, abs=0.02)


def test_children_lie_in_the_space_and_come_from_the_good():
    found, rng = space(), np.random.default_rng(4)
    bad, good = found.least, found.whole
    population = np.stack([bad, good] * 20)
    scores = np.array([0.0, 1.0] * 20)
    same = Variation(1.0, 0.5, 0.0, 0.0).breed(found, population, scores, rng)
    assert (same == good).all()
    wild = Variation(1.0, 0.5, 1.0, 1.0).breed(found, population, scores, rng)
    assert (wild == found.clip(wild)).all()
    assert not (wild == good).all()
