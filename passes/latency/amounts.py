"""Amounts: what a network costs under decisions about blocks, and whether that meets a goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.goal import LatencyBound
from compressc.latency.block_kernels import find_block_kernels
from compressc.latency.latency_model import LatencyModel
from compressc.passes.latency.prediction import predict_from_table
from compressc.plan import Plan
from compressc.program import Program

Choice = Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Amounts:
    """What is left of a program's cost when blocks are left out, against the bounds of a goal.

    Attributes:
        program: its pending decisions count, but for those about blocks.
        bounds: on MACs, params and bytes.
        latency: the time allowed; None for any.
        model: of the original's latency; None where time is not bounded.
        places: the kernels of each block.
        correction: measured over predicted latency, as far as is known.
    """

    program: Program
    bounds: Bounds
    latency: LatencyBound | None = None
    model: LatencyModel | None = None
    places: Mapping[str, frozenset[int]] = field(default_factory=dict)
    correction: float = 1.0

    def amount(self, choice: Choice) -> float:
        """Return what is to become less: milliseconds, or else the first bounded cost."""
        if self.model is not None:
            return self.latency_ms(choice)
        what = next(iter(self.bounds.limits), "macs")
        return float(getattr(self._cost(choice), what))

    def latency_ms(self, choice: Choice) -> float:
        """Return the predicted latency; only where time is bounded."""
        assert self.model is not None
        gone = couple(self.program).branches.dropped(choice)
        places = frozenset[int]().union(*(self.places[block.name] for block in gone))
        return self.model.without(places).latency_ms(self.model.sizes)

    @property
    def full_ms(self) -> float:
        """What the original takes, by the prediction."""
        return self.latency_ms({})

    @property
    def target_ms(self) -> float:
        """The latency to meet."""
        assert self.latency is not None
        return self.latency.absolute(self.full_ms)

    def holds(self, choice: Choice) -> bool:
        """Return whether the goal is met, as far as is known without measuring."""
        if not self.bounds.hold(self._cost(choice)):
            return False
        if self.latency is None:
            return True
        return self.correction * self.latency_ms(choice) <= self.target_ms

    def out_of_reach(self, choice: Choice) -> GoalError:
        """Return the error that says how far leaving blocks out goes.

        Args:
            choice: that leaves out all that may leave.
        """
        count, cost = len(choice), self._cost(choice)
        means = f"leaving out all {count} blocks that may leave"
        advice = ("thin the layers as well (--depth yes of --pass surgeon or latency)",)
        if self.bounds.hold(cost):
            least = self.correction * self.latency_ms(choice)
            return GoalError(
                f"latency target {self.target_ms:.3g} ms: {means} takes about {least:.3g} ms "
                f"({least / self.full_ms:.2f} of the original); ask for at least that, or "
                f"{advice[0]}"
            )
        return self.bounds.out_of_reach(cost, means, advice=advice)

    def corrected(self, choice: Choice, measured_ms: float) -> Amounts:
        """Return the amounts with what a measurement says about the prediction."""
        return replace(self, correction=measured_ms / self.latency_ms(choice))

    def _cost(self, choice: Choice) -> Cost:
        plan = self.program.plan
        return couple(self.program).cost(plan.with_choice(choice))


def open_amounts(
    program: Program, context: Context, name: str, *, by_time: bool = False
) -> Amounts:
    """Return what a program costs without some of its blocks.

    Args:
        program: with decisions pending, or none.
        context: its goal bounds MACs, params, bytes or latency.
        name: the pass, for errors.
        by_time: whether milliseconds are what is to become less, even where they are not bounded.

    Raises:
        GoalError: if the goal bounds nothing, or a cost table is of another model.
        RuntimeFailure: if the latency counts and the model cannot be run.
    """
    goal = context.goal
    bounds = Bounds(goal.bounds, couple(program).cost(Plan()))
    latency = goal.latency_ms
    bound = latency if isinstance(latency, LatencyBound) else None
    if bound is None:
        if not bounds:
            raise GoalError(
                f"{name} has nothing to aim at; give a target such as --target-flops 0.5 or "
                "--target-latency 0.5"
            )
        if not by_time:
            return Amounts(program, bounds)
    context.progress(0, 0, "listing the kernels of the original")
    percentile = "p50" if bound is None else bound.percentile
    model = predict_from_table(program.with_plan(Plan()), percentile, context)
    kernels = [term.kernel for term in model.terms]
    places = find_block_kernels(kernels, couple(program).branches.blocks)
    return Amounts(program, bounds, bound, model, places)
