"""Preparation: what is known before a search begins: units, features, the way to the goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from compressc.array_types import BoolArray, FloatArray
from compressc.contract.context import Context
from compressc.passes.rl_mcts.aims import Route, plan_route, predict_latency
from compressc.passes.rl_mcts.guide import Guide, measure_worth_per_cost
from compressc.passes.rl_mcts.masks import allow_least, check_reach
from compressc.passes.rl_mcts.prunable_units import list_units
from compressc.passes.rl_mcts.settings import Lookahead
from compressc.passes.rl_mcts.state_matrix import FeatureSheet, fill_sheet
from compressc.passes.unit_features.registry import FeatureName
from compressc.program import Program

# Measures a feature of a program by group name.
MeasureOf = Callable[[Program, FeatureName], Mapping[str, FloatArray]]


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a search begins with.

    Attributes:
        route: from the whole network to the goal; it has the units.
        sheet: features of the units.
        allowed: units that may leave, shape (units,).
        guide: what the policy is before it has learned.
    """

    route: Route
    sheet: FeatureSheet
    allowed: BoolArray
    guide: Guide


def prepare(
    program: Program, context: Context, rule: Lookahead, measure: MeasureOf, name: str
) -> Prepared:
    """Return what a search of a program begins with; channels that it decided on are forgotten.

    Args:
        program: decisions other than ``keep`` stay.
        context: its goal.
        rule: mask and guide.
        measure: measures features.
        name: the pass, for errors.

    Raises:
        GoalError: if there is nothing to aim at, or the goal cannot be met.
        PlanError: if nothing can be pruned.
        FeatureError: if a feature is no number.
        RuntimeFailure: if a latency is asked for and the model cannot be run.
    """
    bare = program.with_plan(replace(program.plan, keep={}))
    order = measure(bare, "taylor" if rule.guide == "none" else rule.guide)
    model = predict_latency(bare, context)
    units = list_units(bare, order, model)
    sheet = fill_sheet(units, lambda feature: measure(bare, feature))
    route = plan_route(units, context, name, model)
    taylor = sheet.raw["taylor"]
    allowed = allow_least(units, taylor, rule.mask)
    check_reach(route, taylor, allowed, rule.mask)
    worth = None
    if rule.guide != "none":
        what = next(iter(context.goal.bounds), "macs")
        worth = measure_worth_per_cost(units, units.flatten(order), what)
    return Prepared(route, sheet, allowed, Guide(units, worth, rule.guide_spread))
