"""Random pruning: the baseline that any importance has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.passes.widths.allocation import Scope
from compressc.passes.widths.choice import Ratios, WidthRule, choose_widths
from compressc.program import Program


@dataclass(frozen=True)
class RandomPruning(Pass):
    """Remove random channels until the goal is met; widths are chosen as ``Magnitude`` does.

    Attributes:
        scope: "uniform", or "global" to rank the units of all groups together.
        ratios: (pattern, keep ratio) pairs for group names, see ``Magnitude``.
        floor: share of a group that stays as long as the goal can be met elsewhere.

    Raises:
        PlanError: if the scope is unknown.
        GoalError: if a ratio or the floor is out of range.
    """

    scope: Scope = "uniform"
    ratios: Ratios = ()
    floor: float = 0.125
    name: ClassVar[str] = "random"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep"}))

    def __post_init__(self) -> None:
        self._rule()

    def _rule(self) -> WidthRule:
        return WidthRule(self.scope, self.ratios, self.floor)

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan; the same for the same ``context.goal.seed``.

        Raises:
            GoalError: if there is nothing to aim at, or the goal is out of reach.
            PlanError: if a pattern of ``ratios`` fits nothing that may be pruned.
        """
        importance = {
            group.name: context.rng(f"random {group.name}").random(group.size)
            for group in couple(program).groups
            if group.pinned is None
        }
        return choose_widths(program, context.goal, self._rule(), importance, self.name)
