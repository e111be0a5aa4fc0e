"""Masked cut: what stands in for the search while the channel step is sought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.passes.rl_mcts.aims import plan_route, predict_latency
from compressc.passes.rl_mcts.guide import measure_worth_per_cost
from compressc.passes.rl_mcts.masks import allow_least, check_reach
from compressc.passes.rl_mcts.prunable_units import list_units
from compressc.passes.rl_mcts.pruning_game import PruningGame
from compressc.passes.unit_features.registry import measure_feature
from compressc.program import Program


@dataclass(frozen=True)
class MaskedCut(Pass):
    """Plays one game by the norms of weights per cost, under a mask made of them.

    Attributes:
        mask: share of the units that may leave.
    """

    mask: float
    name: ClassVar[str] = "rehearsal"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep"}))

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan.

        Raises:
            GoalError: if there is nothing to aim at, or the goal cannot be met.
            PlanError: if nothing can be pruned.
        """
        norms = measure_feature(program, "l2")
        bare = program.with_plan(replace(program.plan, keep={}))
        model = predict_latency(bare, context)
        units = list_units(bare, norms, model)
        route = plan_route(units, context, "rl-mcts", model)
        line = units.flatten(norms)
        allowed = allow_least(units, line, self.mask)
        check_reach(route, line, allowed, self.mask)
        worth = measure_worth_per_cost(units, line, next(iter(context.goal.bounds), "macs"))
        game = PruningGame(units, route.aim_at(1.0), allowed)
        end = game.play_in_order(game.position(units.everything), worth)
        return program.with_plan(units.plan_of(end.kept))
