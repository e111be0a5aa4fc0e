"""Aims: when enough has left, for the whole goal and for every segment on the way to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compressc.array_types import IntArray
from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.goal import Bound, LatencyBound
from compressc.latency.latency_model import LatencyModel
from compressc.passes.latency.prediction import predict_from_table
from compressc.passes.rl_mcts.prunable_units import PrunableUnits
from compressc.passes.widths.costs import CountCosts, build_count_costs
from compressc.plan import Plan
from compressc.program import Program

# Counts of the groups in, predicted milliseconds out.
Predict = Callable[[IntArray], float]


@dataclass(frozen=True)
class LatencyLimit:
    """A latency that the cost table is to predict.

    Attributes:
        predict: returns what kept counts of shape (groups,) take.
        original_ms: what the whole network takes.
        allowed_ms: the most that the result may take.
    """

    predict: Predict
    original_ms: float
    allowed_ms: float


@dataclass(frozen=True, eq=False)
class Aim:
    """Upper bounds that kept counts have to meet.

    Attributes:
        costs: of MACs, parameters and bytes; None where none of them is bounded.
        latency: bounded too, or None.
    """

    costs: CountCosts | None
    latency: LatencyLimit | None = None

    def is_met(self, counts: IntArray) -> bool:
        """Return whether the bounds hold for kept counts, shape (groups,)."""
        return self.slack(counts) >= 0

    def slack(self, counts: IntArray) -> float:
        """Return how far below the tightest bound counts lie, as a share of the original."""
        slack = float("inf")
        if self.costs is not None:
            slack = float(self.costs.slack(counts[None])[0])
        if self.latency is not None:
            limit = self.latency
            room = (limit.allowed_ms - limit.predict(counts)) / limit.original_ms
            slack = min(slack, room)
        return slack


@dataclass(frozen=True, eq=False)
class Route:
    """The way from the whole network to the goal.

    Attributes:
        units: of the network.
        bounds: of the goal on MACs, parameters and bytes; may be empty.
        latency: of the goal, or None.
    """

    units: PrunableUnits
    bounds: Bounds
    latency: LatencyLimit | None = None

    @property
    def length(self) -> float:
        """The largest share of the original that has to leave, of what is bounded."""
        shares = [
            1 - allowed / max(1.0, float(getattr(self.bounds.original, what)))
            for what, allowed in self.bounds.amounts.items()
        ]
        if self.latency is not None:
            shares.append(1 - self.latency.allowed_ms / self.latency.original_ms)
        return max(shares)

    def aim_at(self, share: float) -> Aim:
        """Return the aim at a share of the way, 1 being the goal itself."""
        limits = {}
        for what, allowed in self.bounds.amounts.items():
            whole = float(getattr(self.bounds.original, what))
            limits[what] = Bound(whole - share * (whole - allowed), relative=False)
        costs = None
        if limits:
            program = self.units.program
            costs = build_count_costs(
                couple(program), self.units.groups, {}, limits, program.plan.rank
            )
        latency = self.latency
        if latency is not None:
            gone = share * (latency.original_ms - latency.allowed_ms)
            latency = LatencyLimit(latency.predict, latency.original_ms, latency.original_ms - gone)
        return Aim(costs, latency)


def predict_latency(program: Program, context: Context) -> LatencyModel | None:
    """Return what predicts the latency that the goal bounds; None where it bounds none.

    Raises:
        GoalError: if the cost table is of another model.
        RuntimeFailure: if the model cannot be run.
    """
    bound = context.goal.latency_ms
    if not isinstance(bound, LatencyBound):
        return None
    return predict_from_table(program, bound.percentile, context)


def plan_route(
    units: PrunableUnits, context: Context, name: str, model: LatencyModel | None = None
) -> Route:
    """Return the way to the goal.

    Args:
        units: of the network.
        context: its goal is on MACs, parameters, bytes or latency.
        name: the pass, for errors.
        model: predicts the latency that the goal bounds.

    Raises:
        GoalError: if there is no goal.
    """
    goal, bound = context.goal, context.goal.latency_ms
    if not goal.bounds and bound is None:
        raise GoalError(f"{name} has nothing to aim at; give a goal such as --target-flops 0.5")
    bounds = Bounds(goal.bounds, couple(units.program).cost(Plan()))
    if model is None or not isinstance(bound, LatencyBound):
        return Route(units, bounds)
    places = [model.groups.index(group.name) for group in units.groups]

    def predict(counts: IntArray) -> float:
        every = model.sizes.copy()
        every[places] = counts
        return model.latency_ms(every)

    original_ms = model.latency_ms(model.sizes)
    limit = LatencyLimit(predict, original_ms, bound.absolute(original_ms))
    return Route(units, bounds, limit)


def count_segments(length: float, segment: float, trials: int | None, least_trials: int) -> int:
    """Return in how many equal steps a way is gone.

    Args:
        length: of the way, as a share of the original.
        segment: how long a step is to be.
        trials: candidates in all, or None for any number.
        least_trials: candidates that every step needs.
    """
    steps = int(np.ceil(length / segment - 1e-9))
    if trials is not None:
        steps = min(steps, trials // least_trials)
    return max(1, steps)
