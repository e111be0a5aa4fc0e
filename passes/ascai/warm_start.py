"""Initial populations: around what each layer can bear alone, or anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compressc.array_types import FloatArray
from compressc.passes.ascai.assessment import Assessment
from compressc.search.history import ScoredPoint

# Shares are found to a sixteenth, rank steps exactly.
_HALVINGS = 4
_MOST_HALVINGS = 8
# Share of a limited budget that may go into thresholds, and into the samples that are refused.
_FOR_THRESHOLDS = 0.3
_FOR_REFUSED = 0.2
_ROUNDS = 6
_SHRINK = 0.7
# Points that a layer alone may lose: what matters is how much more one layer bears than another,
# and nearly all bear everything where much may be lost.
_ALONE = 2.0
# How far beyond the thresholds the network as a whole may be accurate enough.
_FARTHEST = 2.0
# Spread of individuals around a point on the way to the thresholds, as a share of how far it is
# from the original.
_SPREAD = 0.25

Draw = Callable[[Assessment, FloatArray, float, int, np.random.Generator], FloatArray]


@dataclass(frozen=True, eq=False)
class Start:
    """An initial population.

    Attributes:
        population: evaluated individuals.
        thresholds: theta, shape (coordinates,), or None for a naive start.
        notes: what did not go as the paper has it.
    """

    population: tuple[ScoredPoint, ...]
    thresholds: FloatArray | None
    notes: tuple[str, ...]


def start_naively(assessment: Assessment, size: int, rng: np.random.Generator) -> Start:
    """Return individuals drawn uniformly from the whole space."""
    drawn = _uniform(assessment, size, rng)
    return Start(tuple(assessment.assess(drawn)), None, ())


def start_warm(assessment: Assessment, size: int, rng: np.random.Generator) -> Start:
    """Return individuals near what each layer can bear, all of them accurate enough.

    Shares come from N(theta / 2, theta / 2), rank steps uniformly from theta up; only individuals
    whose metric reaches the threshold are accepted.

    Deviations:
        Where not even the middle of that distribution is accurate, since hardly ever do many
        layers all bear half of what each bears alone, individuals are drawn nearer to the
        original: theta is scaled by what bisection finds for the middle, and by 0.7 after every
        round of which fewer than a quarter are accepted. After six rounds, or a fifth of the
        budget, the best of the refused fill up the population. Under bounds, or where more than 2
        points may be lost, thresholds are what a layer bears within 2, and individuals are drawn
        around the point on the way to them, or beyond, at which the network as a whole meets the
        bounds or that loss.
    """
    thresholds, notes = find_thresholds(assessment)
    if assessment.bounding.bounds:
        centre = assessment.bounding.first_within(thresholds)
        near = assessment.assess(_near(assessment, centre, 1.0, size, rng))
        return Start(tuple(near), thresholds, notes)
    draw: Draw
    if _least_metric(assessment) > assessment.scoring.threshold:
        draw, towards, scale = _near, _find_edge(assessment, thresholds), 1.0
    else:
        draw, towards, scale = _around, thresholds, _find_scale(assessment, thresholds)
    allowed = _share_of_budget(assessment, _FOR_REFUSED)
    accepted: dict[str, ScoredPoint] = {}
    refused: dict[str, ScoredPoint] = {}
    for _ in range(_ROUNDS):
        drawn = draw(assessment, towards, scale, size, rng)
        assessed = assessment.assess(drawn)
        good = [assessment.scoring.accepts(scored.trial.metric) for scored in assessed]
        for scored, is_good in zip(assessed, good, strict=True):
            (accepted if is_good else refused)[scored.trial.digest] = scored
        if len(accepted) >= size or len(assessed) < len(drawn):
            break
        if allowed is not None and len(refused) >= allowed:
            break
        if sum(good) < len(assessed) / 4:
            scale *= _SHRINK
    if scale < 1:
        end = "the thresholds" if draw is _around else "the way that is accurate enough"
        notes += (f"initial individuals drawn at {scale:.2g} of {end}",)
    chosen = list(accepted.values())[:size]
    if len(chosen) < size and refused:
        chosen += sorted(refused.values(), key=lambda scored: -scored.score)[: size - len(chosen)]
        if not accepted:
            notes += ("no initial individual reaches the metric's threshold",)
    # Fewer distinct plans than individuals: some stand in the population twice.
    population = tuple(chosen[index % len(chosen)] for index in range(size) if chosen)
    return Start(population, thresholds, notes)


def find_thresholds(assessment: Assessment) -> tuple[FloatArray, tuple[str, ...]]:
    """Return theta: the most that each coordinate can compress alone with an accurate network.

    Accurate is what reaches the threshold and loses at most 2 points.

    Bisection, all coordinates at once; the metric is taken to fall with compression. Without a
    budget for it, one share for all layers is found, and twice as much taken for what each bears.

    Shape:
        (coordinates,): the largest share, or the smallest rank step.
    """
    space, least = assessment.space, _least_metric(assessment)
    # Good is known to be accurate; bad is the nearest value beyond, known or assumed not to be.
    good, bad = space.whole.copy(), np.where(space.discrete, 0.0, 1.0)
    allowed = _share_of_budget(assessment, _FOR_THRESHOLDS)
    rounds = 0
    notes: tuple[str, ...] = ()
    while allowed is None or (rounds + 1) * len(good) <= allowed:
        middle = (good + bad) / 2
        middle = np.where(space.discrete, np.floor(middle), middle)
        open_ = np.where(space.discrete, np.abs(good - bad) > 1, rounds < _HALVINGS)
        if rounds >= _MOST_HALVINGS or not open_.any():
            break
        places = np.flatnonzero(open_)
        alone = np.repeat(space.whole[None], len(places), axis=0)
        alone[np.arange(len(places)), places] = middle[places]
        assessed = assessment.assess(alone, bounded=False)
        for place, scored in zip(places, assessed, strict=False):
            side = good if scored.trial.metric >= least else bad
            side[place] = middle[place]
        if len(assessed) < len(places):
            break
        rounds += 1
    if rounds == 0:
        notes = ("the budget is too small for thresholds per layer: one share for all is taken",)
        share = _largest_share(assessment, space.least)
        good = space.whole + min(1.0, 2 * share) * (space.least - space.whole)
    return good, notes


def _least_metric(assessment: Assessment) -> float:
    scoring = assessment.scoring
    return max(scoring.threshold, scoring.base_metric - _ALONE)


def _find_scale(assessment: Assessment, thresholds: FloatArray) -> float:
    """Return the scale of the thresholds at which an individual half-way to them is accurate."""
    whole = assessment.space.whole
    share = _largest_share(assessment, whole + (thresholds - whole) / 2)
    return max(share, 2.0**-_HALVINGS)


def _find_edge(assessment: Assessment, thresholds: FloatArray) -> FloatArray:
    """Return the last point on the way to the thresholds, and beyond, that is accurate enough."""
    space = assessment.space
    far = space.whole + _FARTHEST * (thresholds - space.whole)
    return space.clip(space.whole + _largest_share(assessment, far) * (far - space.whole))


def _largest_share(assessment: Assessment, towards: FloatArray) -> float:
    """Return the largest share of the way to an individual at which the metric is accepted.

    Bisection between the original (0) and the individual (1).
    """
    whole = assessment.space.whole
    good, bad, tried = 0.0, 1.0, 1.0
    for _ in range(_HALVINGS + 1):
        assessed = assessment.assess((whole + tried * (towards - whole))[None], bounded=False)
        if not assessed:
            break
        if assessment.scoring.accepts(assessed[0].trial.metric):
            good = tried
        else:
            bad = tried
        if good == 1.0:
            break
        tried = (good + bad) / 2
    return good


def _around(
    assessment: Assessment,
    thresholds: FloatArray,
    scale: float,
    size: int,
    rng: np.random.Generator,
) -> FloatArray:
    space = assessment.space
    half = scale * thresholds / 2
    shape = (size, len(thresholds))
    shares = rng.normal(half, np.maximum(half, 0.0), shape)
    lowest = space.whole - scale * (space.whole - thresholds)
    steps = np.floor(rng.uniform(lowest, space.whole + 1, shape))
    return space.clip(np.where(space.discrete, np.minimum(steps, space.whole), shares))


def _near(
    assessment: Assessment,
    point: FloatArray,
    scale: float,
    size: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return individuals around a point, or around a place on the way to it.

    The first is that place itself. On the way to the thresholds every layer is compressed in
    proportion to what it bears alone.

    Args:
        assessment: of the search.
        point: shape (coordinates,).
        scale: how far on the way from the original to the point; 1 is the point.
        size: how many individuals.
        rng: draws them.
    """
    whole = assessment.space.whole
    centre = whole + scale * (point - whole)
    drawn = rng.normal(centre, _SPREAD * np.abs(centre - whole), (size, len(centre)))
    drawn[0] = centre
    return assessment.space.clip(drawn)


def _uniform(assessment: Assessment, size: int, rng: np.random.Generator) -> FloatArray:
    space = assessment.space
    drawn = rng.random((size, len(space.whole)))
    steps = np.floor(1 + drawn * space.whole)
    return space.clip(np.where(space.discrete, steps, drawn))


def _share_of_budget(assessment: Assessment, share: float) -> int | None:
    remaining = assessment.evaluator.remaining
    return None if remaining is None else int(share * remaining)
