"""Repaired plans: a few candidates of a search, repaired in full before one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from compressc.clock import ignore_progress
from compressc.contract.context import Context
from compressc.lowering.lowered import lower
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.reconstruction.refinement import RefinementSettings
from compressc.plan import Plan
from compressc.program import Program
from compressc.tasks.protocol import Task


@dataclass(frozen=True, eq=False)
class RepairedPlan:
    """A plan whose network ``calibrate`` repaired.

    Attributes:
        program: with the plan and the weights of the repair.
        metric: of the repaired network.
    """

    program: Program
    metric: float


def repair_plans(
    program: Program, plans: Sequence[Plan], judge: Task, context: Context, samples: int
) -> list[RepairedPlan]:
    """Return plans repaired in closed form, in order.

    Least squares from moments know nothing of the errors in front of a layer. ``calibrate`` does,
    and takes a pass over the data for each plan.

    Args:
        program: the original.
        plans: that remove something.
        judge: whose search-validation split judges.
        context: of the search; its task gives the samples.
        samples: that calibrate uses.
    """
    calibrate = Calibration(samples=samples, refinement=RefinementSettings(refine_steps=0))
    inside = replace(context, original=program, progress=ignore_progress)
    repaired = []
    for done, plan in enumerate(plans):
        context.progress(done, len(plans), f"repairing finalist {done + 1} of {len(plans)}")
        decided = calibrate(program.with_plan(plan), inside)
        metric = float(judge.validate(lower(decided).module().eval()))
        repaired.append(RepairedPlan(replace(decided, history=program.history), metric))
    return repaired
