"""Straight cut: everything in a search space compressed alike, until the bounds hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.passes.spaces.bounding import Bounding
from compressc.passes.spaces.coordinates import Method
from compressc.passes.spaces.space_building import build_space
from compressc.passes.unit_features.registry import measure_feature
from compressc.plan import Plan
from compressc.program import Program


@dataclass(frozen=True)
class StraightCut(Pass):
    """Stands in for a search while the channel step is sought: it decides without trying anything.

    It goes to the bounds on the straight line on which a search moves candidates that break them,
    so it reaches them where the search does, and fails where the search would.

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
        importance = measure_feature(program, "l1") if "ps" in self.spaces else {}
        space = build_space(program, self.spaces, importance)
        bounding = Bounding(space, Bounds(context.goal.bounds, couple(program).cost(Plan())))
        bounding.check()
        cut = bounding.enforce(space.whole[None])[0]
        return program.with_plan(space.plan_of(space.point(cut)))
