"""Widths from errors: what goes wrong when a unit leaves, per amount that this saves."""

from __future__ import annotations

from collections.abc import Mapping

from compressc.array_types import FloatArray
from compressc.coupling.graph import couple
from compressc.coupling.groups import ChannelGroup
from compressc.goal import Goal
from compressc.passes.widths.choice import WidthRule, choose_widths
from compressc.plan import Plan
from compressc.program import Program


def choose_by_errors(
    program: Program, goal: Goal, rule: WidthRule, errors: Mapping[str, FloatArray], name: str
) -> Program:
    """Return the program with the widths of least error for what they save.

    Args:
        program: see :func:`compressc.passes.widths.choice.choose_widths`.
        goal: the first of its bounds is what counts as saved; MACs where it has none.
        rule: how to choose.
        errors: per group that is not pinned, per unit.
        name: the pass, for remarks and errors.

    Raises:
        GoalError: if there is neither goal nor ratio, or the bounds cannot be met.
        PlanError: if a pattern fits no group that may be pruned.
    """
    what = next(iter(goal.bounds), "macs")
    importance = {
        group.name: errors[group.name] / _unit_cost(program, group, what)
        for group in couple(program).free_groups(program.plan.choice)
        if group.name in errors
    }
    return choose_widths(program, goal, rule, importance, name)


def _unit_cost(program: Program, group: ChannelGroup, what: str) -> float:
    """Return what one unit of a group costs, as a share of the whole model."""
    coupling = couple(program)
    whole = coupling.kept(Plan())
    kept = whole.copy()
    kept[group.classes] = False
    costs = getattr(coupling.costs_under(program.plan.choice), what)
    full = float(costs(whole))
    return max((full - float(costs(kept))) / group.size / full, 1e-12)
