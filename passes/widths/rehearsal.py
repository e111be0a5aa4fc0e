"""Rehearsals: what passes that search or measure come to, as far as channel counts go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.widths.choice import WidthRule, choose_widths
from compressc.program import Program


@dataclass(frozen=True)
class WidthRehearsal(Pass):
    """Chooses widths by a rule, with the norms of weights for the importance of channels.

    What is within reach depends on the rule alone, not on the importance.

    Attributes:
        rule: of the pass that is rehearsed.
    """

    rule: WidthRule
    name: ClassVar[str] = "rehearsal"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep"}))

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan.

        Raises:
            GoalError: if there is nothing to aim at, or the goal is out of reach.
        """
        importance = measure_feature(program, "l2")
        return choose_widths(program, context.goal, self.rule, importance, self.name)
