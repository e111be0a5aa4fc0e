"""Widths: from the importance of units to a keep plan that meets the goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from compressc.array_types import BoolArray, FloatArray
from compressc.coupling.graph import couple
from compressc.coupling.groups import ChannelGroup
from compressc.errors import GoalError, PlanError
from compressc.goal import Goal
from compressc.passes.widths.allocation import Allocator, Scope
from compressc.passes.widths.costs import build_count_costs
from compressc.passes.widths.ladders import Ladder, build_ladder
from compressc.passes.widths.reach import explain_reach
from compressc.passes.widths.traffic import measure_intensity
from compressc.plan import Plan
from compressc.program import HistoryLine, Program

Ratios = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class WidthRule:
    """How widths are chosen; the settings that structured passes share.

    Attributes:
        scope: "uniform": about the same keep ratio everywhere, less where a group is memory-bound;
            "global": the least important units of all groups leave.
        ratios: (pattern, keep ratio) pairs; the first pattern that matches a group's name, or a
            layer whose output channels are the group's, decides its width, whatever the goal says.
        floor: share of a group that stays as long as the goal can be met elsewhere.

    Raises:
        PlanError: if the scope is unknown.
        GoalError: if a ratio is not above 0 and at most 1, or the floor not in 0 to 1.
    """

    scope: Scope
    ratios: Ratios
    floor: float

    def __post_init__(self) -> None:
        if self.scope not in ("uniform", "global"):
            raise PlanError(f"scope '{self.scope}' is unknown; give uniform or global")
        if not 0 <= self.floor <= 1:
            raise GoalError(f"floor {self.floor:g}: give a share of each group from 0 to 1")
        for pattern, ratio in self.ratios:
            if not 0 < ratio <= 1:
                raise GoalError(
                    f"keep ratio {ratio:g} for '{pattern}': give a share above 0 and at most 1"
                )


def choose_widths(
    program: Program, goal: Goal, rule: WidthRule, importance: Mapping[str, FloatArray], name: str
) -> Program:
    """Return the program with every group's width decided anew.

    Args:
        program: decisions other than ``keep`` stay as they are, but ranks that make no sense for
            the new widths are lowered or dropped.
        goal: its bounds; needed unless the rule gives ratios.
        rule: how to choose.
        importance: per group that is not pinned, per unit.
        name: the pass, for remarks and errors.

    Raises:
        GoalError: if there is neither goal nor ratio, or the bounds cannot be met.
        PlanError: if a pattern fits no group that may be pruned.
    """
    if not goal.bounds and not rule.ratios:
        raise GoalError(
            f"{name} has nothing to aim at; give a goal such as --target-flops 0.5, or ratios"
        )
    intensity = measure_intensity(program)
    ladders = {
        group.name: build_ladder(group, importance[group.name], intensity[group.name])
        for group in couple(program).free_groups(program.plan.choice)
    }
    chosen, notes = _fix_ratios(program, rule, ladders)
    if goal.bounds:
        chosen = _meet_bounds(program, goal, rule, ladders, chosen)
    plan = _plan_widths(program, _masks(ladders, chosen))
    whole = [layer for layer in program.plan.rank if layer not in plan.rank]
    notes += tuple(f"{layer} is not factorised: it is cheaper whole now" for layer in whole)
    decided = program.with_plan(plan)
    return decided.with_line(HistoryLine(name, notes=notes)) if notes else decided


def _plan_widths(program: Program, keep: Mapping[str, BoolArray]) -> Plan:
    """Return the program's plan with other widths, and ranks that fit these."""
    return couple(program).fit_ranks(replace(program.plan, keep=keep))


def _masks(ladders: Mapping[str, Ladder], rungs: Mapping[str, int]) -> dict[str, BoolArray]:
    """Return the masks of groups that shrink."""
    return {
        name: ladders[name].mask(rung) for name, rung in rungs.items() if rung < ladders[name].steps
    }


def _fix_ratios(
    program: Program, rule: WidthRule, ladders: Mapping[str, Ladder]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the rungs of groups that a pattern decides, and remarks on pinned ones."""
    fixed: dict[str, int] = {}
    notes: list[str] = []
    for pattern, ratio in rule.ratios:
        groups = _matching(couple(program).groups, pattern)
        pinned = [group for group in groups if group.pinned is not None]
        if not groups:
            known = ", ".join(list(ladders)[:5])
            raise PlanError(f"no group matches '{pattern}'; names are {known}, ...")
        if len(pinned) == len(groups) and ratio < 1:
            raise PlanError(f"'{pattern}' cannot be pruned: {pinned[0].pinned}; keep ratio is 1")
        notes.extend(f"{group.name} stays whole: {group.pinned}" for group in pinned if ratio < 1)
        for group in groups:
            if group.name in ladders:
                fixed.setdefault(group.name, ladders[group.name].rung_at(ratio))
    return fixed, tuple(notes)


def _matching(groups: Sequence[ChannelGroup], pattern: str) -> list[ChannelGroup]:
    """Return the group of that name, else those of which the name or any layer matches."""
    named = [group for group in groups if group.name == pattern]
    return named or [
        group
        for group in groups
        if any(fnmatchcase(name, pattern) for name in (group.name, *group.producers))
    ]


def _meet_bounds(
    program: Program,
    goal: Goal,
    rule: WidthRule,
    ladders: Mapping[str, Ladder],
    fixed: Mapping[str, int],
) -> dict[str, int]:
    """Return the rungs of all groups, those of ``fixed`` as they are.

    Raises:
        GoalError: if the bounds cannot be met.
    """
    free = [ladder for name, ladder in ladders.items() if name not in fixed]
    costs = build_count_costs(
        couple(program),
        [ladder.group for ladder in free],
        {name: int(ladders[name].counts[rung]) for name, rung in fixed.items()},
        goal.bounds,
        program.plan.rank,
        program.plan.choice,
    )
    allocation = Allocator(free, costs, rule.scope, rule.floor).allocate()
    if allocation is None:
        lowest = {ladder.group.name: 0 for ladder in free}
        plan = _plan_widths(program, _masks(ladders, {**lowest, **fixed}))
        raise explain_reach(program, goal.bounds, plan, frozenset(fixed))
    names = [ladder.group.name for ladder in free]
    return {**fixed, **dict(zip(names, allocation.rungs.tolist(), strict=True))}
