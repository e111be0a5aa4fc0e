"""Initial populations: around what each layer can bear alone, or anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressc.passes.ascai.assessment import Assessment, Scored
from compressc.passes.importance import FloatArray

# Shares are found to a sixteenth, rank steps exactly.
_HALVINGS = 4
_MOST_HALVINGS = 8
# Share of a limited budget that may go into thresholds, and into the samples that are refused.
_FOR_THRESHOLDS = 0.3
_FOR_REFUSED = 0.2
_ROUNDS = 6
_SHRINK = 0.7
# Points that a layer alone may lose where bounds decide how far to go: what matters then is how
# much more one layer bears than another, and nearly all bear everything where much may be lost.
_ALONE = 2.0
# Spread of individuals around the point where the way to the thresholds meets the bounds, as a
# share of how far it is from the original.
_SPREAD = 0.25


@dataclass(frozen=True, eq=False)
class Start:
    """An initial population.

    Attributes:
        population: evaluated individuals.
        thresholds: theta, shape (coordinates,), or None for a naive start.
        notes: what did not go as the paper has it.
    """

    population: tuple[Scored, ...]
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
        budget, the best of the refused fill up the population. Under bounds, which decide how far
        to go, see ``_start_at_bounds``.
    """
    thresholds, notes = find_thresholds(assessment)
    if assessment.bounding.bounds:
        return _start_at_bounds(assessment, thresholds, notes, size, rng)
    reach = _find_reach(assessment, thresholds)
    allowed = _share_of_budget(assessment, _FOR_REFUSED)
    accepted: dict[str, Scored] = {}
    refused: dict[str, Scored] = {}
    for _ in range(_ROUNDS):
        drawn = _around(assessment, thresholds, reach, size, rng)
        found = assessment.assess(drawn)
        good = [assessment.scoring.accepts(one.trial.metric) for one in found]
        for one, is_good in zip(found, good, strict=True):
            (accepted if is_good else refused)[one.trial.digest] = one
        if len(accepted) >= size or len(found) < len(drawn):
            break
        if allowed is not None and len(refused) >= allowed:
            break
        if sum(good) < len(found) / 4:
            reach *= _SHRINK
    if reach < 1:
        notes += (f"initial individuals drawn at {reach:.2g} of the thresholds",)
    chosen = list(accepted.values())[:size]
    if len(chosen) < size and refused:
        chosen += sorted(refused.values(), key=lambda one: -one.score)[: size - len(chosen)]
        if not accepted:
            notes += ("no initial individual reaches the metric's threshold",)
    # Fewer distinct plans than individuals: some stand in the population twice.
    population = tuple(chosen[index % len(chosen)] for index in range(size) if chosen)
    return Start(population, thresholds, notes)


def _start_at_bounds(
    assessment: Assessment,
    thresholds: FloatArray,
    notes: tuple[str, ...],
    size: int,
    rng: np.random.Generator,
) -> Start:
    """Return individuals around the point where the way to the thresholds meets the bounds.

    The first is that point: every layer is compressed in proportion to what it bears alone with at
    most 2 points lost.
    """
    space = assessment.space
    centre = assessment.bounding.reach(thresholds)
    spread = _SPREAD * np.abs(centre - space.whole)
    drawn = space.clip(rng.normal(centre, spread, (size, len(centre))))
    drawn[0] = centre
    return Start(tuple(assessment.assess(drawn)), thresholds, notes)


def find_thresholds(assessment: Assessment) -> tuple[FloatArray, tuple[str, ...]]:
    """Return theta: the most that each coordinate can compress alone with an accurate network.

    Accurate is what reaches the threshold; under bounds, what loses at most 2 points.

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
        found = assessment.assess(alone, bounded=False)
        for place, one in zip(places, found, strict=False):
            side = good if one.trial.metric >= least else bad
            side[place] = middle[place]
        if len(found) < len(places):
            break
        rounds += 1
    if rounds == 0:
        notes = ("the budget is too small for thresholds per layer: one share for all is taken",)
        share = _largest_share(assessment, space.least)
        good = space.whole + min(1.0, 2 * share) * (space.least - space.whole)
    return good, notes


def _least_metric(assessment: Assessment) -> float:
    scoring = assessment.scoring
    if not assessment.bounding.bounds:
        return scoring.threshold
    return max(scoring.threshold, scoring.base_metric - _ALONE)


def _find_reach(assessment: Assessment, thresholds: FloatArray) -> float:
    """Return by how much to scale the thresholds so that the middle individual is accurate."""
    whole = assessment.space.whole
    share = _largest_share(assessment, whole + (thresholds - whole) / 2)
    return max(share, 2.0**-_HALVINGS)


def _largest_share(assessment: Assessment, towards: FloatArray) -> float:
    """Return how far on the line from the original to an individual the metric holds."""
    whole = assessment.space.whole
    good, bad, tried = 0.0, 1.0, 1.0
    for _ in range(_HALVINGS + 1):
        found = assessment.assess((whole + tried * (towards - whole))[None], bounded=False)
        if not found:
            break
        if assessment.scoring.accepts(found[0].trial.metric):
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
    reach: float,
    size: int,
    rng: np.random.Generator,
) -> FloatArray:
    space = assessment.space
    half = reach * thresholds / 2
    shape = (size, len(thresholds))
    shares = rng.normal(half, np.maximum(half, 0.0), shape)
    lowest = space.whole - reach * (space.whole - thresholds)
    steps = np.floor(rng.uniform(lowest, space.whole + 1, shape))
    return space.clip(np.where(space.discrete, np.minimum(steps, space.whole), shares))


def _uniform(assessment: Assessment, size: int, rng: np.random.Generator) -> FloatArray:
    space = assessment.space
    drawn = rng.random((size, len(space.whole)))
    steps = np.floor(1 + drawn * space.whole)
    return space.clip(np.where(space.discrete, steps, drawn))


def _share_of_budget(assessment: Assessment, share: float) -> int | None:
    remaining = assessment.evaluator.remaining
    return None if remaining is None else int(share * remaining)
