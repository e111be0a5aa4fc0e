"""Magnitude: structured pruning by the norms of coupled weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.errors import PlanError
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.unit_features.weight_slices import VectorNorm
from compressc.passes.widths.allocation import Scope
from compressc.passes.widths.choice import Ratios, WidthRule, choose_widths
from compressc.program import Program


@dataclass(frozen=True)
class Magnitude(Pass):
    """Remove the channels with the smallest weights until the goal is met.

    ``scope="uniform"`` is the default: every group gives up about the same share, somewhat more
    where its channels cost more time than their MACs say (see
    :mod:`compressc.passes.widths.traffic`). An even cut is the faster one, since a plan that
    empties a few layers leaves the memory-bound rest as slow as it was. It was also the safer one:
    over four networks trained on the digits, cut to 0.9 ... 0.5 of their MACs without fine-tuning,
    it kept 64 % accuracy on average, "global" 56 % (worse on three of the four), random channels
    50 %; L1 and L2 did not differ.

    What following time brings over strictly equal shares, as the speed-up at half the MACs by MACs
    cut (untrained weights, summed kernel times, one thread, three runs on a busy machine):
    MobileNetV2 0.85-0.87 to 0.94-0.96, DenseNet-121 0.84-0.85 to 0.87-0.88, MobileNetV1 0.89-0.92
    to 0.92-0.93, nothing beyond noise on ResNet-50 (0.97-1.00) and on ResNet-56, whose plan stays
    the same.

    Attributes:
        norm: "l1" or "l2", see ``measure_relative_norms``.
        scope: "uniform", or "global" to rank the units of all groups together.
        ratios: (pattern, keep ratio) pairs for group names; the first match decides, whatever the
            goal says. Widths are the nearest allowed ones. Without a goal other groups stay whole.
        floor: share of a group that stays as long as the goal can be met elsewhere.

    Source:
        Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017; Fang et al., DepGraph, CVPR
        2023.

    Raises:
        PlanError: if the norm or scope is unknown.
        GoalError: if a ratio or the floor is out of range.
    """

    norm: VectorNorm = "l2"
    scope: Scope = "uniform"
    ratios: Ratios = ()
    floor: float = 0.125
    name: ClassVar[str] = "magnitude"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep"}))

    def __post_init__(self) -> None:
        if self.norm not in ("l1", "l2"):
            raise PlanError(f"norm '{self.norm}' is unknown; give l1 or l2")
        self._rule()

    def _rule(self) -> WidthRule:
        return WidthRule(self.scope, self.ratios, self.floor)

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan.

        Raises:
            GoalError: if there is nothing to aim at, or the goal is out of reach.
            PlanError: if a pattern of ``ratios`` fits nothing that may be pruned.
        """
        importance = measure_feature(program, self.norm)
        return choose_widths(program, context.goal, self._rule(), importance, self.name)
