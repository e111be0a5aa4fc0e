"""Outcome: what is said about the end of a search."""

from __future__ import annotations

from compressc.coupling.graph import couple
from compressc.errors import SearchError
from compressc.passes.rl_mcts.arena import Arena
from compressc.passes.rl_mcts.channel_search import Ground, Outcome
from compressc.plan import Plan


def require_judged(outcome: Outcome, arena: Arena, budget: str) -> None:
    """Check that a search judged anything at all.

    Raises:
        SearchError: if it did not.
    """
    if outcome.champion is None and not arena.recorder.history.trials:
        raise SearchError(
            f"the budget of {budget} ended before the search began; raise it, or leave it out"
        )


def describe_outcome(outcome: Outcome, arena: Arena, ground: Ground, plan: Plan) -> tuple[str, ...]:
    """Return remarks on what a search came to, for the report."""
    route, history = ground.prepared.route, arena.recorder.history
    cost = couple(route.units.program).cost(plan)
    macs, params = route.bounds.share("macs", cost), route.bounds.share("params", cost)
    notes = [
        f"best of {len(history.trials)} candidates in {outcome.standing.iterations} iterations and "
        f"{ground.segments} segments over {route.units.count} units: {macs:.1%} of the MACs, "
        f"{params:.1%} of the parameters"
    ]
    if outcome.champion is None:
        notes.append(
            "the budget ended before the goal was met: the rest of the way was gone by the network "
            "alone, and the result is not judged"
        )
    else:
        metric = outcome.champion.trial.metric
        notes.append(
            f"search-validation metric {metric:.4g}, the original's {arena.standard.base:.4g}"
        )
    return (*notes, *history.notes)
