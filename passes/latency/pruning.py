"""Latency: widths from measured kernels, for a latency or for the fastest plan of a cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from compressc.array_types import FloatArray
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.errors import GoalError, PlanError
from compressc.passes.blocks.candidates import check_blocks
from compressc.passes.blocks.depth_and_widths import balance_depth
from compressc.passes.blocks.succession_errors import SuccessionErrors
from compressc.passes.latency.amounts import open_amounts
from compressc.passes.latency.fastest import seek_fastest
from compressc.passes.latency.meeting import (
    LatencyRule,
    describe_prediction,
    meet_latency,
    open_search,
)
from compressc.passes.unit_features.reconstruction_errors import RIDGE
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.unit_features.samples import UnitSamples
from compressc.passes.unit_features.weight_slices import VectorNorm
from compressc.passes.widths.allocation import Scope
from compressc.passes.widths.choice import WidthRule
from compressc.program import Program
from compressc.tasks.protocol import require_task


@dataclass(frozen=True)
class Latency(Pass):
    """Choose widths that meet a latency, or the fastest ones of a cost, as ONNX Runtime runs them.

    Every kernel of the network is measured over the channel counts that it may have, once per
    machine and thread count; a plan's latency is the sum of its kernels. A group may stop at every
    count that is faster than all wider ones, whether or not it is a multiple of anything. Among
    the plans that meet the target, and the other bounds of the goal, the one that loses least
    importance is sought, groups that share kernels moving together. The model it makes is then
    measured beside the original, and the prediction corrected by what it got wrong, until the
    target is met within 5 % or no other plan is nearer.

    With a cost table of another device nothing is measured here, so nothing is corrected.

    Where the goal bounds MACs, params or bytes but no latency, the plan is sought that takes least
    time within them: in the uniform scope groups keep the larger a share, the more MACs per second
    their kernels do. It is never slower, by the cost table, than an even cut.

    Attributes:
        norm: of the weights, see ``measure_relative_norms``.
        scope: "uniform" cuts groups about as much as they cost time; "global" removes what is
            least important, wherever it is.
        floor: share of a group that always stays; groups that may vanish have none.
        measurements: how often a result may be measured and the prediction corrected; 0 trusts the
            table.
        depth: whether residual blocks may be left out as well: as many as lose less than thinning
            the layers further, by what least squares cannot repair (see ``surgeon``), which is then
            the importance of channels, too. Needs inputs, real or synthetic.
        samples: how many unlabelled samples of the training split are used where depth is open.

    Raises:
        GoalError: if a number is out of range.
        PlanError: if the norm or scope is unknown.
    """

    norm: VectorNorm = "l2"
    scope: Scope = "uniform"
    floor: float = 0.125
    measurements: int = 4
    depth: bool = False
    samples: int = 256
    name: ClassVar[str] = "latency"
    declares: ClassVar[Declaration] = Declaration(
        channel_step="own", changes=frozenset({"keep", "choice"}), deterministic=False
    )

    def __post_init__(self) -> None:
        if self.norm not in ("l1", "l2"):
            raise PlanError(f"norm '{self.norm}' is unknown; give l1 or l2")
        if self.scope not in ("uniform", "global"):
            raise PlanError(f"scope '{self.scope}' is unknown; give uniform or global")
        if not 0 <= self.floor <= 1:
            raise GoalError(f"floor {self.floor:g}: give a share of each group from 0 to 1")
        if self.measurements < 0:
            raise GoalError(f"measurements {self.measurements}: must be 0 or more")
        if self.samples < 1:
            raise GoalError(f"samples {self.samples}: at least 1 is needed")

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan, and without blocks where depth is open.

        Raises:
            ChoiceError: if depth is open and the network has no block that may leave.
            DataError: if depth is open and there is no task that gives samples.
            GoalError: if there is no target, it is out of reach, or the table is of another model.
            RuntimeFailure: if the model cannot be run.
        """
        rule = LatencyRule(self.scope, self.floor, self.measurements)
        if self.depth:
            return self._with_depth(program, context, rule)
        importance = measure_feature(program, self.norm)
        return self._choose(program, context, importance, rule)

    def _choose(
        self,
        program: Program,
        context: Context,
        importance: Mapping[str, FloatArray],
        rule: LatencyRule,
    ) -> Program:
        search = open_search(program, context, importance, rule, self.name)
        if search.bound is None:
            even = WidthRule("uniform", (), self.floor)
            return seek_fastest(search, even, importance, describe_prediction(context))
        return meet_latency(search, rule, context)

    def _with_depth(self, program: Program, context: Context, rule: LatencyRule) -> Program:
        """Decide on blocks by the cost table, then on widths as without blocks."""
        check_blocks(program, self.name)
        task = require_task(context.task, self.name)
        samples = UnitSamples(task, self.samples, context.goal.seed, self.name)
        importance = measure_feature(program, "reconstruction", samples, context.progress)
        trusting = replace(rule, measurements=0)
        balance = balance_depth(
            program,
            SuccessionErrors(program, samples.unlabelled(), RIDGE, context.progress),
            open_amounts(program, context, self.name, by_time=True).amount,
            lambda start: self._choose(start, context, importance, trusting),
            importance,
        )
        start = program.with_plan(program.plan.with_choice(balance.removal.choice))
        decided = self._choose(start, context, importance, rule)
        return replace(balance, program=decided).explained(self.name)
