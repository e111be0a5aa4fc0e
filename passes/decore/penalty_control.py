"""Penalty control: a lambda that lets the policies arrive at the goal when training ends."""

from __future__ import annotations

import math

import numpy as np

from compressc.array_types import FloatArray
from compressc.coupling.graph import couple
from compressc.goal import Goal
from compressc.passes.gates.gated_units import GatedUnits
from compressc.passes.widths.costs import build_count_costs
from compressc.program import Program

# Share of the steps in which the cost should fall: policies need some to learn what is useful,
# and the network some to settle.
_BEGIN, _END = 0.1, 0.7
# Share of the first weight from which a channel counts as kept when training ends.
_DECIDED = 0.02
# Change of log(lambda) over a whole training in which policies are away from where they should be
# by all of the cost; and how far lambda may leave the one that was given, as a factor.
_GAIN = 60.0
_REACH = 1e4


class PenaltyControl:
    """Raises the penalty where the policies drop faster than they should, and lowers it otherwise.

    What an agent's channel will cost is taken to fall in a line with its weight, from all at some
    weight to nothing at 0, where it is dropped. The line starts at the weight that agents start
    from and becomes steeper, until only the decision counts: else all agents would stop half-way.

    Args:
        program: whose cost counts.
        agents: its agents.
        goal: bounds.
        first: weight that the agents start from.
        penalty: to start from.
        steps: of the whole training.
    """

    def __init__(
        self,
        program: Program,
        agents: GatedUnits,
        goal: Goal,
        first: float,
        penalty: float,
        steps: int,
    ) -> None:
        groups = [couple(program).group(name) for name in agents.groups]
        self._costs = build_count_costs(couple(program), groups, {}, goal.bounds)
        self._agents, self._first, self._penalty = agents, first, penalty
        self._steps = max(1, steps)
        self._excess = -self._slack(np.full(agents.count, first), first)

    def adapt(self, penalty: float, weights: FloatArray, step: int) -> float:
        """Return the penalty for the next step.

        Args:
            penalty: of the last step.
            weights: of the agents, shape (agents,).
            step: how many steps are over.
        """
        passed = (step / self._steps - _BEGIN) / (_END - _BEGIN)
        left = 1 - min(max(passed, 0.0), 1.0)
        whole_at = max(_DECIDED, left) * self._first
        behind = -self._slack(weights, whole_at) - self._excess * left
        changed = penalty * math.exp(-_GAIN / self._steps * behind)
        return min(max(changed, self._penalty / _REACH), self._penalty * _REACH)

    def _slack(self, weights: FloatArray, whole_at: float) -> float:
        share = np.clip(weights / whole_at, 0.0, 1.0)
        counts = np.array([part.sum() for part in self._agents.by_group(share).values()])
        return float(self._costs.slack(counts[None])[0])
