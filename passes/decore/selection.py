"""Selection: from the agents' weights to a keep plan."""

from __future__ import annotations

from dataclasses import replace

from compressc.array_types import BoolArray, FloatArray
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.goal import Goal
from compressc.passes.gates.gated_units import GatedUnits
from compressc.passes.latency.meeting import LatencyRule, meet_latency, open_search
from compressc.passes.widths.choice import WidthRule, choose_widths
from compressc.passes.widths.ladders import sparing_mask
from compressc.program import HistoryLine, Program

# What the least agent is worth above nothing, so that every unit counts.
_LEAST = 1e-6
# How often a result may be measured on the way to a latency.
_MEASUREMENTS = 4


def drop_decided(program: Program, agents: GatedUnits, weights: FloatArray, name: str) -> Program:
    """Return the program without the channels that their agents drop: probability below one half.

    Where counts step by a multiple, or conv groups must stay equal, a group keeps what it must: the
    agents with the highest weights among those that would drop theirs.

    Args:
        program: without a pending ``keep``.
        agents: of the program.
        weights: of the agents, shape (agents,).
        name: the pass, for remarks.
    """
    keep: dict[str, BoolArray] = {}
    spared = 0
    for group_name, values in agents.by_group(weights).items():
        group = couple(program).group(group_name)
        mask = sparing_mask(group, values - weights.min() + _LEAST, values >= 0)
        spared += int((mask & (values < 0)).sum())
        if not mask.all():
            keep[group_name] = mask
    notes = []
    if spared:
        notes.append(
            f"{spared} channels stay although their agents drop them: every group keeps at least "
            "one, and counts may have to be multiples or equal over conv groups"
        )
    if not keep:
        notes.append("no agent drops its channel: give a lower penalty, or more epochs")
    plan = couple(program).fit_ranks(program.plan.with_keep(keep))
    return program.with_plan(plan).with_line(HistoryLine(name, notes=tuple(notes)))


def drop_lowest(
    program: Program, goal: Goal, agents: GatedUnits, weights: FloatArray, floor: float, name: str
) -> Program:
    """Return the program without the channels of the lowest agents, as many as the goal asks for.

    All agents are in one order. Groups without agents give way only when every other group has.

    Args:
        program: decisions other than ``keep`` stay.
        goal: its bounds.
        agents: of the program.
        weights: of the agents, shape (agents,).
        floor: share of a group that stays as long as the goal can be met elsewhere.
        name: the pass, for remarks and errors.

    Raises:
        GoalError: if the bounds cannot be met.
    """
    rule = WidthRule("global", (), floor)
    bare = replace(program, plan=replace(program.plan, keep={}))
    return choose_widths(bare, goal, rule, _importance(program, agents, weights), name)


def drop_for_latency(
    program: Program,
    context: Context,
    agents: GatedUnits,
    weights: FloatArray,
    floor: float,
    name: str,
) -> Program:
    """Return the program without those channels whose agents are worth least for their time.

    What an agent is worth is its weight above the lowest one. Agents do not leave in one order
    here: latency is a staircase, on which the last channels of a block bring the time.

    Args:
        program: decisions other than ``keep`` stay.
        context: its goal has a latency; other bounds hold as well.
        agents: of the program.
        weights: of the agents, shape (agents,).
        floor: share of a group that stays.
        name: the pass, for remarks and errors.

    Raises:
        GoalError: if the goal is out of reach.
        RuntimeFailure: if the model cannot be run.
    """
    rule = LatencyRule("global", floor, _MEASUREMENTS)
    bare = replace(program, plan=replace(program.plan, keep={}))
    importance = _importance(program, agents, weights)
    return meet_latency(open_search(bare, context, importance, rule, name), rule, context)


def _importance(program: Program, agents: GatedUnits, weights: FloatArray) -> dict[str, FloatArray]:
    above = weights - weights.min() + _LEAST
    importance = agents.by_group(above)
    for group in couple(program).groups:
        if group.pinned is None and group.name not in importance:
            importance[group.name] = above.max() + 1 + 0 * group.classes
    return importance
