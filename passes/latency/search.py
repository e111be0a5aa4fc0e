"""Search for a latency: choose widths by the cost table, measure, correct it, choose again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.costs import Cost
from compressc.coupling.graph import cost_of, couple
from compressc.errors import GoalError
from compressc.goal import Goal, LatencyBound
from compressc.passes.latency.knapsack import LatencyAllocation, LatencyAllocator
from compressc.plan import Plan
from compressc.program import HistoryLine, Program

# A result this far below its target, or this much above it, meets it.
CLOSE = 0.05
_OVER = 0.01
# Nearer than this nothing more is measured; the rest is room for how the next measurement differs.
_AIM = 0.03
_BISECTIONS = 10

Measure = Callable[[Program], float]


@dataclass(frozen=True, eq=False)
class LatencySearch:
    """Seeks the plan that loses least among those that meet a latency and the other bounds.

    Attributes:
        program: the original.
        allocator: of its groups.
        bound: the latency asked for; None for the fastest plan that the goal's bounds allow.
        goal: its bounds on MACs, params and bytes hold as well.
        full_ms: latency of the original.
        name: of the pass, for the history.
    """

    program: Program
    allocator: LatencyAllocator
    bound: LatencyBound | None
    goal: Goal
    full_ms: float
    name: str

    @property
    def target_ms(self) -> float:
        """The latency to meet."""
        return self.full_ms if self.bound is None else self.bound.absolute(self.full_ms)

    def trust(self, circumstances: str) -> Program:
        """Return the program with the plan that the table predicts to meet the target.

        Raises:
            GoalError: if the target or another bound is out of reach.
        """
        allocation = self._choose(self.target_ms)
        if allocation is None:
            raise self._unreachable(self.allocator.fastest().latency_ms)
        return self._with_notes(
            allocation, [f"latency {self.describe(allocation.latency_ms)}, {circumstances}"]
        )

    def close(self, measure: Measure, measurements: int, context: Context) -> Program:
        """Measure, correct, and choose again, until the target is met.

        Raises:
            GoalError: if the target or another bound is out of reach.
        """
        correction = 1.0
        seen: dict[tuple[int, ...], float] = {}
        best: tuple[float, LatencyAllocation] | None = None
        for number in range(measurements):
            context.progress(number, measurements, "measuring a candidate")
            # A table that is too pessimistic must not refuse what the machine can do: where it
            # finds nothing, the fastest plan is measured before anything is said.
            allocation = self._choose(self.target_ms / correction) or self.allocator.fastest()
            key = tuple(allocation.rungs.tolist())
            if key in seen:
                break
            measured = seen[key] = measure(self._decided(allocation))
            if best is None or self._distance(measured) < self._distance(best[0]):
                best = measured, allocation
            if self._is_met(measured, _AIM):
                break
            correction = measured / allocation.latency_ms
        assert best is not None
        fastest = self.allocator.fastest()
        if best[0] > (1 + CLOSE) * self.target_ms and tuple(fastest.rungs.tolist()) in seen:
            raise self._unreachable(min(seen.values()))
        return self._explained(*best, len(seen))

    def _choose(self, target_ms: float) -> LatencyAllocation | None:
        """Return the best plan for a latency that keeps the other bounds, too.

        Where these ask for more than the latency does, less time is asked for until they hold.
        """
        allocation = self.allocator.allocate(target_ms)
        if allocation is None or self._bounds.hold(self._cost(allocation)):
            return allocation
        fastest = self.allocator.fastest()
        if not self._bounds.hold(self._cost(fastest)):
            raise self._bounds.out_of_reach(
                self._cost(fastest),
                "choosing widths by their latency",
                advice=("use another pass",),
            )
        low, high, best = fastest.latency_ms, target_ms, fastest
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            allocation = self.allocator.allocate(middle)
            if allocation is not None and self._bounds.hold(self._cost(allocation)):
                low, best = middle, allocation
            else:
                high = middle
        return best

    @cached_property
    def _bounds(self) -> Bounds:
        """The bounds besides latency."""
        return Bounds(self.goal.bounds, couple(self.program).cost(Plan()))

    def _cost(self, allocation: LatencyAllocation) -> Cost:
        return cost_of(self._decided(allocation))

    def _unreachable(self, least_ms: float) -> GoalError:
        return GoalError(
            f"latency target {self.describe(self.target_ms)}: the narrowest plan takes about "
            f"{self.describe(least_ms)}; ask for at least that, lower --floor, or free layers that "
            "are kept"
        )

    def _decided(self, allocation: LatencyAllocation) -> Program:
        keep = {
            ladder.group.name: ladder.mask(int(rung))
            for ladder, rung in zip(self.allocator.ladders, allocation.rungs, strict=True)
            if rung < ladder.steps
        }
        plan = replace(self.program.plan, keep=keep)
        return self.program.with_plan(couple(self.program).fit_ranks(plan))

    def _is_met(self, measured: float, below: float = CLOSE) -> bool:
        share = measured / self.target_ms
        return share <= 1 + _OVER and (share >= 1 - below or bool(self.goal.bounds))

    def _distance(self, measured: float) -> float:
        """Return how bad a result is: best is nearest below the target, worst is above it."""
        share = measured / self.target_ms
        return 1 - share if share <= 1 + _OVER else share

    def _explained(
        self, measured: float, allocation: LatencyAllocation, candidates: int
    ) -> Program:
        wrong = measured / allocation.latency_ms - 1
        notes = [
            f"latency {self.describe(measured)} measured beside the original while deciding, "
            f"target {self.describe(self.target_ms)}; the cost table said "
            f"{allocation.latency_ms:.3g} ms ({-wrong / (1 + wrong):+.1%}), "
            f"{candidates} candidates measured"
        ]
        if not self._is_met(measured):
            side = "below" if measured < self.target_ms else "above"
            notes.append(
                f"the target is missed by {abs(measured / self.target_ms - 1):.1%} ({side}): "
                "channel counts move in steps, and no nearer plan was found"
            )
        return self._with_notes(allocation, notes)

    def _with_notes(self, allocation: LatencyAllocation, notes: list[str]) -> Program:
        step = HistoryLine(
            self.name, notes=tuple(notes), numbers=self.numbers(allocation.latency_ms)
        )
        return self._decided(allocation).with_line(step)

    def numbers(self, predicted_ms: float) -> dict[str, float]:
        """Return what a step of the history records."""
        return {"predicted_latency_ms": predicted_ms, "original_latency_ms": self.full_ms}

    def describe(self, ms: float) -> str:
        """Return a latency as text: its share of the original, and milliseconds with their clock.

        Where a share is asked for, milliseconds are the share of what the cost table says the
        original takes, not what a benchmark of this moment would say.
        """
        share = ms / self.full_ms
        percentile = "p50" if self.bound is None else self.bound.percentile
        if self.bound is not None and not self.bound.relative:
            return f"{ms:.3g} ms {percentile} ({share:.2f} of the original)"
        return f"{share:.2f} of the original at {percentile} ({ms:.3g} ms by the cost table)"
