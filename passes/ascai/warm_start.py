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
_BOUNDED_ROUNDS = 2
_SHRINK = 0.7


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
        Where fewer than a quarter of a round are accepted, the next one is drawn nearer to the
        original (theta times 0.7, again and again): with many layers, hardly ever do all bear half
        of what each bears alone. After six rounds, or a fifth of the budget, the best of the
        refused fill up the population. Under bounds, which push every individual out again, that
        is after two rounds.
    """
    thresholds, notes = find_thresholds(assessment)
    accepted: dict[str, Scored] = {}
    refused: dict[str, Scored] = {}
    reach, shrunk = 1.0, 0
    allowed = _share_of_budget(assessment, _FOR_REFUSED)
    bounded = bool(assessment.bounding.bounds)
    for _ in range(_BOUNDED_ROUNDS if bounded else _ROUNDS):
        drawn = _around(assessment, thresholds, reach, size, rng)
        found = assessment.assess(drawn)
        for one in found:
            good = assessment.scoring.accepts(one.trial.metric)
            (accepted if good else refused)[one.trial.digest] = one
        if len(accepted) >= size or len(found) < len(drawn):
            break
        if allowed is not None and len(refused) >= max(allowed, size):
            break
        share = sum(assessment.scoring.accepts(one.trial.metric) for one in found) / len(found)
        if share < 0.25 and not bounded:
            reach, shrunk = reach * _SHRINK, shrunk + 1
    if shrunk:
        notes += (f"initial individuals drawn at {reach:.2g} of the thresholds",)
    chosen = list(accepted.values())[:size]
    missing = size - len(chosen)
    if missing > 0 and refused:
        chosen += sorted(refused.values(), key=lambda one: -one.score)[:missing]
        if not accepted:
            notes += ("no initial individual reaches the metric's threshold",)
    # Fewer distinct plans than individuals: some stand in the population twice.
    if chosen:
        chosen = [chosen[index % len(chosen)] for index in range(size)]
    return Start(tuple(chosen), thresholds, notes)


def find_thresholds(assessment: Assessment) -> tuple[FloatArray, tuple[str, ...]]:
    """Return theta: the most that each coordinate can compress alone with an accurate network.

    Bisection, all coordinates at once; the metric is taken to fall with compression. Without a
    budget for it, the middle of every range stands in.

    Shape:
        (coordinates,): the largest share, or the smallest rank step.
    """
    space = assessment.space
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
            side = good if assessment.scoring.accepts(one.trial.metric) else bad
            side[place] = middle[place]
        if len(found) < len(places):
            break
        rounds += 1
    if rounds == 0:
        notes = ("the budget is too small for thresholds per layer: the middle of each is assumed",)
        good = space.clip((space.whole + space.least) / 2)
    return good, notes


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
