"""Finalists: the few best candidates of a search, repaired in full before one is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from compressc.contract.context import Context
from compressc.passes.ascai.assessment import Assessment
from compressc.passes.reconstruction.repaired_plans import repair_plans
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
    best = [scored for scored in assessment.list_best(count) if assessment.plan_of(scored)]
    plans = [assessment.plan_of(scored) for scored in best]
    finalists = [
        Finalist(assessment.with_metric(scored, repaired.metric), repaired.program)
        for scored, repaired in zip(
            best, repair_plans(program, plans, judge, context, samples), strict=True
        )
    ]
    return sorted(finalists, key=lambda finalist: assessment.rank(finalist.scored), reverse=True)
