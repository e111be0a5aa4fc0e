"""Masks: which units may leave at all, and whether the goal can be met without the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compressc.array_types import BoolArray, FloatArray, IntArray
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.passes.rl_mcts.aims import Route
from compressc.passes.rl_mcts.prunable_units import PrunableUnits
from compressc.passes.rl_mcts.pruning_game import PruningGame
from compressc.passes.widths.reach import explain_reach
from compressc.plan import Plan

# Masks that are tried when an error says which one would do.
_STEPS = 20


def allow_least(units: PrunableUnits, importance: FloatArray, share: float) -> BoolArray:
    """Return the mask of the share of all units that is least important.

    Importance is divided by its norm over the group, so that layers can be compared; units that
    leave together count by their mean.

    Args:
        units: of the network.
        importance: shape (units,).
        share: above 0, at most 1.

    Shape:
        result: (units,).

    Source:
        Molchanov et al., ICLR 2017, for the norm.
    """
    squares = np.bincount(units.owner, weights=importance**2)
    norms = np.sqrt(np.where(squares > 0, squares, 1.0))
    relative = importance / norms[units.owner]
    together = [members for parts in units.bundles for members in parts]
    means = np.array([relative[members].mean() for members in together])
    allowed, most = np.zeros(units.count, dtype=bool), share * units.count + 1e-9
    taken = 0
    for place in np.argsort(means, kind="stable"):
        taken += len(together[place])
        if taken > most:
            break
        allowed[together[place]] = True
    return allowed


def check_reach(route: Route, importance: FloatArray, allowed: BoolArray, share: float) -> None:
    """Check that the goal can be met by the units that may leave.

    Args:
        route: to the goal.
        importance: that the mask was made of, shape (units,).
        allowed: the mask, shape (units,).
        share: of the units that it allows.

    Raises:
        GoalError: if it cannot, saying by how much and what is in the way.
    """
    aim = route.aim_at(1.0)
    lowest = _lowest(route, allowed)
    if aim.is_met(lowest):
        return
    everything = route.units.everything
    if not aim.is_met(_lowest(route, everything)):
        raise _out_of_reach(route, _lowest(route, everything))
    enough = next(
        step / _STEPS
        for step in range(1, _STEPS + 1)
        if step / _STEPS > share
        and aim.is_met(_lowest(route, allow_least(route.units, importance, step / _STEPS)))
    )
    short = -aim.slack(lowest)
    raise GoalError(
        f"the goal cannot be met under --mask {share:g}: without the {1 - share:.0%} of the units "
        f"with the highest Taylor importance, {short:.3g} of the original too much is left; give "
        f"--mask {enough:g} or more, or raise the target"
    )


def _lowest(route: Route, allowed: BoolArray) -> IntArray:
    game = PruningGame(route.units, route.aim_at(1.0), allowed)
    return game.lowest_counts(route.units.everything)


def _out_of_reach(route: Route, lowest: IntArray) -> GoalError:
    units = route.units
    kept = units.everything
    for group, start, count in zip(units.groups, units.starts, lowest, strict=False):
        kept[start + int(count) : start + group.size] = False
    # The units themselves do not matter to the cost.
    plan = replace(units.program.plan, keep=units.masks(kept))
    if route.bounds and not route.bounds.hold(_cost(route, plan)):
        return explain_reach(units.program, route.bounds.limits, plan, frozenset())
    assert route.latency is not None
    least, allowed_ms = route.latency.predict(lowest), route.latency.allowed_ms
    return GoalError(
        f"latency target {allowed_ms:.3g} ms cannot be reached: pruning goes only down to "
        f"{least:.3g} ms as the cost table predicts; raise the target, or keep fewer layers"
    )


def _cost(route: Route, plan: Plan) -> Cost:
    return couple(route.units.program).cost(plan)
