"""Rehearsals: what passes that search or measure come to, as far as channel counts go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressc.choices.blocks import LEFT_OUT
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.widths.choice import WidthRule, choose_widths
from compressc.program import Program


@dataclass(frozen=True)
class WidthRehearsal(Pass):
    """Chooses widths by a rule, with the norms of weights for the importance of channels.

    What is within reach depends on the rule alone, not on the importance.

    Attributes:
        rule: of the pass that is rehearsed.
        depth: whether residual blocks may be left out as well: all that may leave do, where widths
            alone do not reach the goal.
    """

    rule: WidthRule
    depth: bool = False
    name: ClassVar[str] = "rehearsal"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep", "choice"}))

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan.

        Raises:
            GoalError: if there is nothing to aim at, or the goal is out of reach.
        """
        importance = measure_feature(program, "l2")
        try:
            return choose_widths(program, context.goal, self.rule, importance, self.name)
        except GoalError:
            if not self.depth:
                raise
        blocks = couple(program).branches.blocks
        choice = {block.name: LEFT_OUT for block in blocks if block.pinned is None}
        shortest = program.with_plan(program.plan.with_choice(choice))
        return choose_widths(shortest, context.goal, self.rule, importance, self.name)
