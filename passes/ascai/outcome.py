"""Outcome: whether the best individual of a search will do, and what is said about it."""

from __future__ import annotations

from compressc.errors import SearchError
from compressc.passes.ascai.assessment import Assessment
from compressc.search.history import History, ScoredPoint


def pick_best(assessment: Assessment) -> ScoredPoint:
    """Return the best individual of a search that is over.

    Raises:
        SearchError: if there is none that is accurate enough and saves anything.
    """
    best, scoring, bounds = assessment.best, assessment.scoring, assessment.bounding.bounds
    if best is None:
        raise SearchError(
            f"the budget of {assessment.evaluator.goal.budget} ended before the search began; "
            "raise it, or leave it out"
        )
    if bounds or (scoring.accepts(best.trial.metric) and best.score > 0):
        return best
    raise SearchError(
        f"none of {assessment.evaluator.spent} candidates saves anything and keeps the metric at "
        f"{scoring.threshold:.4g} or more; the closest has {best.trial.metric:.4g} at "
        f"{bounds.share('macs', best.trial.cost):.1%} of the MACs: raise --search-drop, spend more "
        "trials, or set --recalibrate"
    )


def describe_best(
    assessment: Assessment,
    best: ScoredPoint,
    history: History,
    *,
    repaired: bool,
    recalibrated: bool,
    elite: int,
) -> tuple[str, ...]:
    """Return remarks on the best individual, for the report.

    Args:
        assessment: of the search.
        best: the individual.
        history: of the search; its notes come last.
        repaired: whether the layers of every candidate were refitted.
        recalibrated: whether batch norm statistics were measured anew for every candidate.
        elite: how many of the best went on unchanged.
    """
    trial, scoring, bounds = best.trial, assessment.scoring, assessment.bounding.bounds
    macs, params = bounds.share("macs", trial.cost), bounds.share("params", trial.cost)
    notes = [
        f"best of {assessment.evaluator.spent} candidates in {len(history.generations) - 1} "
        f"generations over {len(assessment.space.coordinates)} hyper-parameters: score "
        f"{best.score:.4g}, {macs:.1%} of the MACs, {params:.1%} of the parameters",
        f"search-validation metric {trial.metric:.4g}, the original's {scoring.base_metric:.4g}"
        + (", repaired by least squares" if repaired else ", as cut")
        + (", with batch norm statistics measured anew" if recalibrated else ""),
    ]
    if not scoring.accepts(trial.metric):
        short = scoring.threshold - trial.metric
        notes.append(
            f"no candidate within the bounds keeps the metric at {scoring.threshold:.4g}; the best "
            f"is {short:.3g} short of it before training"
        )
    if elite:
        notes.append(f"elitism: {elite} of the best go on unchanged (not in the paper)")
    return (*notes, *history.notes)
