"""Finalists: the few best candidates of a search, repaired in full before one is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from compressc.clock import ignore_progress
from compressc.contract.context import Context
from compressc.lowering.lowered import lower
from compressc.passes.ascai.assessment import Assessment
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.reconstruction.refinement import RefinementSettings
from compressc.program import Program
from compressc.search.history import ScoredPoint
from compressc.search.validation_sample import sample_validation
from compressc.tasks.protocol import Task


@dataclass(frozen=True, eq=False)
class Finalist:
    """A candidate that ``calibrate`` repaired.

    Attributes:
        scored: the candidate, by the metric of the repaired network on the samples that judge.
        program: with its plan and the weights of the repair.
    """

    scored: ScoredPoint
    program: Program


def repair_finalists(
    assessment: Assessment,
    program: Program,
    task: Task,
    context: Context,
    *,
    count: int,
    samples: int,
    val_samples: int,
) -> list[Finalist]:
    """Return the best candidates and all proposals, repaired in closed form, the best first.

    Least squares from moments know nothing of the errors in front of a layer. ``calibrate`` does,
    and takes a pass over the data for each candidate.

    Args:
        assessment: of the search that is over.
        program: the original.
        task: gives the samples, and judges.
        context: of the search.
        count: how many candidates.
        samples: that calibrate uses.
        val_samples: that judged the candidates of the search.
    """
    judge = sample_validation(task, val_samples, context.goal.seed)
    calibrate = Calibration(samples=samples, refinement=RefinementSettings(refine_steps=0))
    inside = replace(context, original=program, progress=ignore_progress)
    finalists = []
    best = [scored for scored in assessment.list_best(count) if assessment.plan_of(scored)]
    for done, scored in enumerate(best):
        context.progress(done, len(best), f"repairing finalist {done + 1} of {len(best)}")
        repaired = calibrate(program.with_plan(assessment.plan_of(scored)), inside)
        metric = float(judge.validate(lower(repaired).module().eval()))
        again = assessment.with_metric(scored, metric)
        finalists.append(Finalist(again, replace(repaired, history=program.history)))
    return sorted(finalists, key=lambda finalist: assessment.rank(finalist.scored), reverse=True)
