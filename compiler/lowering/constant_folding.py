"""Folding what removed channels leave behind, as part of a recipe."""

from __future__ import annotations

from compressc.bounds import Bounds
from compressc.coupling.graph import cost_of, couple
from compressc.goal import Goal
from compressc.lowering.constants import absorb_constants
from compressc.lowering.folded_constants import FoldedConstants
from compressc.plan import Plan
from compressc.program import Program


def fold_constants(before: Program, after: Program, goal: Goal) -> tuple[Program, FoldedConstants]:
    """Fold the constants of channels that a pass decided to remove.

    A pass that changed weights as well has seen to them itself, by fitting or folding; and what an
    earlier pass removed may have been made up for since.

    Args:
        before: what the pass was called with.
        after: what it returned.
        goal: a bias that is new must not break a bound.
    """
    nothing = FoldedConstants()
    if after.graph_module is not before.graph_module or _keeps_as(before.plan, after.plan):
        return after, nothing
    absorbed = absorb_constants(after, settled=before.plan)
    if not absorbed.folded:
        return after, FoldedConstants((), absorbed.refused)
    bounds = Bounds(goal.bounds, couple(before).cost(Plan()))
    if bounds.hold(cost_of(after)) and not bounds.hold(cost_of(absorbed.program)):
        reasons = (f"{layer}: its new bias would break the goal" for layer in absorbed.folded)
        return after, FoldedConstants((), (*absorbed.refused, *reasons))
    return absorbed.program, FoldedConstants(absorbed.folded, absorbed.refused)


def _keeps_as(before: Plan, after: Plan) -> bool:
    return Plan(keep=before.keep) == Plan(keep=after.keep)
