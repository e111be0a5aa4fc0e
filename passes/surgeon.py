"""Surgeon: structured pruning by the error that least squares cannot make up for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.passes.blocks.candidates import check_blocks
from compressc.passes.blocks.depth_and_widths import balance_depth
from compressc.passes.blocks.succession_errors import SuccessionErrors
from compressc.passes.latency.amounts import Amounts
from compressc.passes.unit_features.reconstruction_errors import RIDGE
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.unit_features.samples import UnitSamples
from compressc.passes.widths.choice import Ratios, WidthRule
from compressc.passes.widths.error_widths import choose_by_errors
from compressc.passes.widths.rehearsal import WidthRehearsal
from compressc.plan import Plan
from compressc.program import Program
from compressc.tasks.protocol import require_task


@dataclass(frozen=True)
class Surgeon(Pass):
    """Remove the channels that the others can best stand in for, then run ``calibrate``.

    A channel is worth what is lost when it goes and the layers that read it are refitted by least
    squares; a channel that is a mix of others is worth nothing, however large its weights. Widths
    follow from that worth per MAC (or per parameter, if the goal bounds parameters), over all
    layers together.

    Attributes:
        samples: how many unlabelled samples of the training split are used.
        ridge: damping of the least squares, as a share of the mean square of a feature.
        ratios: (pattern, keep ratio) pairs for group names; see ``magnitude``.
        floor: share of a group that stays as long as the goal can be met elsewhere.
        depth: whether residual blocks may be left out as well: as many as lose less, by the same
            measure, than thinning the layers further; see ``depth``.

    Source:
        Hassibi and Stork, Optimal Brain Surgeon, NeurIPS 1992; He et al., Channel Pruning, ICCV
        2017.

    Deviations:
        Whole channels, the error of the layers that read them instead of the loss, and no
        retraining between removals.

    Raises:
        GoalError: if a number is out of range.
    """

    samples: int = 512
    ridge: float = RIDGE
    ratios: Ratios = ()
    floor: float = 0.0
    depth: bool = False
    name: ClassVar[str] = "surgeon"
    declares: ClassVar[Declaration] = Declaration(
        needs="samples", changes=frozenset({"keep", "choice"})
    )

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise GoalError(f"samples {self.samples}: at least 1 is needed")
        if self.ridge <= 0:
            raise GoalError(f"ridge {self.ridge:g}: must be above 0")
        self._rule()

    def _rule(self) -> WidthRule:
        return WidthRule("global", self.ratios, self.floor)

    def rehearsal(self) -> Pass:
        """Return a pass that chooses widths without data."""
        return WidthRehearsal(self._rule(), self.depth)

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan, and without blocks where depth is open.

        Raises:
            ChoiceError: if depth is open and the network has no block that may leave.
            DataError: if there is no task, or it gives no samples.
            GoalError: if there is nothing to aim at, or the goal is out of reach.
            PlanError: if a pattern of ``ratios`` fits nothing that may be pruned.
        """
        task = require_task(context.task, self.name)
        samples = UnitSamples(task, self.samples, context.goal.seed, self.name)
        errors = measure_feature(
            program, "reconstruction", samples, context.progress, ridge=self.ridge
        )

        def thin(start: Program) -> Program:
            return choose_by_errors(start, context.goal, self._rule(), errors, self.name)

        if not self.depth:
            return thin(program)
        check_blocks(program, self.name)
        bounds = Bounds(context.goal.bounds, couple(program).cost(Plan()))
        block_errors = SuccessionErrors(program, samples.unlabelled(), self.ridge, context.progress)
        balance = balance_depth(
            program, block_errors, Amounts(program, bounds).amount, thin, errors
        )
        return balance.explained(self.name)
