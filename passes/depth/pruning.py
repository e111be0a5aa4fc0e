"""Depth: whole residual blocks leave, those whose work the layers in front can best take over."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.goal import LatencyBound
from compressc.latency.network_listing import write_original
from compressc.passes.blocks.candidates import check_blocks, describe_dropped
from compressc.passes.blocks.disagreement import Disagreement
from compressc.passes.blocks.removal import Errors, Removal, order_removals, put_back
from compressc.passes.blocks.succession_errors import SuccessionErrors
from compressc.passes.latency.amounts import Amounts, open_amounts
from compressc.passes.latency.meeting import describe_prediction, measure_beside
from compressc.passes.unit_features.reconstruction_errors import RIDGE
from compressc.program import HistoryLine, Program
from compressc.tasks.protocol import draw_samples, require_task


@dataclass(frozen=True)
class Depth(Pass):
    """Leave out residual blocks until the goal is met, then run ``calibrate``.

    A block leaves whole: its layers are gone, and the value beside it takes its place. Those leave
    first that lose least for what they save, in MACs, params, bytes, or milliseconds by measured
    kernels, whatever the goal bounds. No layer that stays changes its width, so no kernel gets
    slower; but blocks are coarse, and the goal may be overshot by part of one.

    Attributes:
        by: "repair": a block is worth what the layer in front of it cannot make up for when
            it is refitted by least squares, as ``calibrate`` does; "agreement": what the outputs
            change by when it is left out and nothing is repaired.
        samples: how many unlabelled samples of the training split are used.
        ridge: damping of the least squares, as a share of the mean square of a feature.
        measurements: under a latency, how often a result may be measured and the prediction
            corrected; 0 trusts the cost table.

    Source:
        Veit et al., Residual Networks Behave Like Ensembles of Relatively Shallow Networks,
        NeurIPS 2016; Chen and Zhao, Shallowing Deep Networks: Layer-wise Pruning Based on Feature
        Representations, TPAMI 2018 (layers by what can be rebuilt from the features in front).

    Deviations:
        Least squares on the layer in front, which is refitted afterwards, instead of linear
        classifiers; no training between removals.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    by: Literal["repair", "agreement"] = "repair"
    samples: int = 256
    ridge: float = RIDGE
    measurements: int = 4
    name: ClassVar[str] = "depth"
    declares: ClassVar[Declaration] = Declaration(
        needs="samples", channel_step="own", changes=frozenset({"choice"})
    )

    def __post_init__(self) -> None:
        if self.by not in ("repair", "agreement"):
            raise GoalError(f"by '{self.by}': give repair or agreement")
        if self.samples < 1:
            raise GoalError(f"samples {self.samples}: at least 1 is needed")
        if self.ridge <= 0:
            raise GoalError(f"ridge {self.ridge:g}: must be above 0")
        if self.measurements < 0:
            raise GoalError(f"measurements {self.measurements}: must be 0 or more")

    def rehearsal(self) -> Pass:
        """Return a pass that leaves the largest blocks out, without data."""
        return _LargestFirst()

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with decisions about its blocks.

        Raises:
            ChoiceError: if the network has no block that may leave.
            GoalError: if there is nothing to aim at, or leaving out blocks does not go so far.
            DataError: if there is no task, or it gives no samples.
            RuntimeFailure: if the latency counts and the model cannot be run.
        """
        check_blocks(program, self.name)
        amounts = open_amounts(program, context, self.name)
        task = require_task(context.task, self.name)
        batches = draw_samples(task, self.samples, context.goal.seed, self.name)
        errors: Errors = (
            SuccessionErrors(program, batches, self.ridge, context.progress)
            if self.by == "repair"
            else Disagreement(program, batches, context.progress)
        )
        if amounts.latency is None or not context.target.is_here or not self.measurements:
            removal = _meet(amounts, errors)
            how = () if amounts.latency is None else (describe_prediction(context),)
            return _decide(program, amounts, removal, self.name, how)
        return self._close(program, amounts, errors, context)

    def _close(
        self, program: Program, amounts: Amounts, errors: Errors, context: Context
    ) -> Program:
        """Measure, correct the prediction, and choose again, until the latency is met."""
        assert isinstance(amounts.latency, LatencyBound)
        with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
            original = write_original(program, Path(folder) / "original.onnx")
            measure = measure_beside(original, amounts.latency, amounts.full_ms, context)
            for number in range(self.measurements):
                context.progress(number, self.measurements, "measuring a candidate")
                removal = _meet(amounts, errors)
                decided = program.with_plan(program.plan.with_choice(removal.choice))
                measured = measure(decided)
                if measured <= amounts.target_ms:
                    break
                amounts = amounts.corrected(removal.choice, measured)
        note = f"{measured:.3g} ms measured against a target of {amounts.target_ms:.3g} ms"
        return _decide(program, amounts, removal, self.name, (note,))


@dataclass(frozen=True)
class _LargestFirst(Pass):
    """Stands for ``depth`` where only the reach of the goal counts."""

    name: ClassVar[str] = "depth"
    declares: ClassVar[Declaration] = Declaration(
        channel_step="own", changes=frozenset({"choice"}), deterministic=False
    )

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with its largest blocks left out.

        Raises:
            ChoiceError, GoalError: as :meth:`Depth.__call__`.
        """
        check_blocks(program, self.name)
        amounts = open_amounts(program, context, self.name)
        removal = _meet(amounts, lambda choices: [0.0] * len(choices))
        return program.with_plan(program.plan.with_choice(removal.choice))


def _meet(amounts: Amounts, errors: Errors) -> Removal:
    """Return the blocks to leave out for the goal.

    Raises:
        GoalError: if all together do not suffice.
    """
    last = None
    for removal in order_removals(couple(amounts.program).branches.blocks, errors, amounts.amount):
        if amounts.holds(removal.choice):
            return put_back(removal, errors, amounts.amount, amounts.holds)
        last = removal
    assert last is not None
    raise amounts.out_of_reach(last.choice)


def _decide(
    program: Program,
    amounts: Amounts,
    removal: Removal,
    name: str,
    notes: tuple[str, ...],
) -> Program:
    """Return the program with blocks left out, and a line of history that names them."""
    numbers = {"blocks_left_out": float(len(removal.names)), "block_error": removal.error}
    if amounts.latency is not None:
        predicted = amounts.correction * amounts.latency_ms(removal.choice)
        numbers |= {"predicted_latency_ms": predicted, "original_latency_ms": amounts.full_ms}
    line = HistoryLine(
        name, notes=(describe_dropped(program, removal.choice), *notes), numbers=numbers
    )
    return program.with_plan(program.plan.with_choice(removal.choice)).with_line(line)
