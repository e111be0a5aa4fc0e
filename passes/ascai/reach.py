"""How far a search can reach, without searching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.passes.ascai.bounding import Bounding
from compressc.passes.ascai.space import Method, build_space
from compressc.passes.importance import measure_importance
from compressc.plan import Plan
from compressc.program import Program


@dataclass(frozen=True)
class ReachRehearsal(Pass):
    """Compresses everything alike until the bounds hold: what any candidate is made to do.

    Attributes:
        spaces: of the search.
    """

    spaces: tuple[Method, ...]
    name: ClassVar[str] = "rehearsal"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep", "rank"}))

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a plan inside the bounds, which may be empty.

        Raises:
            GoalError: if the bounds cannot be met.
            PlanError: if nothing of the program can be compressed in these spaces.
        """
        importance = measure_importance(program, "l1") if "ps" in self.spaces else {}
        space = build_space(program, self.spaces, importance)
        bounding = Bounding(space, Bounds(context.goal.bounds, couple(program).cost(Plan())))
        bounding.check()
        found = bounding.enforce(space.whole[None])[0]
        return program.with_plan(space.plan_of(space.individual(found)))
