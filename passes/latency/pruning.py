"""Latency: widths from measured kernels, for a latency or for the fastest plan of a cost."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.errors import GoalError, PlanError
from compressc.goal import LatencyBound
from compressc.latency.latency_model import LatencyModel
from compressc.latency.measured_latency import read_latency
from compressc.latency.network_listing import axis_sizes, write_original
from compressc.lowering.lowered import lower
from compressc.pass_protocol import Context
from compressc.passes.importance import FloatArray, Norm, measure_importance
from compressc.passes.latency.allocation import (
    LatencyAllocator,
    Scope,
    losses_of,
)
from compressc.passes.latency.fastest import seek_fastest
from compressc.passes.latency.prediction import predict_from_table
from compressc.passes.latency.search import LatencySearch, Measure
from compressc.passes.latency.shares import weigh_by_throughput, weigh_by_time
from compressc.passes.latency.useful_counts import with_useful_counts
from compressc.passes.widths.choice import WidthRule
from compressc.passes.widths.ladders import Ladder, build_ladder
from compressc.program import Program
from compressc.runtime.bench import bench

_SECONDS = 3.0


@dataclass(frozen=True)
class Latency:
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
        norm: of the weights, see :func:`compressc.passes.importance.measure_importance`.
        scope: "uniform" cuts groups about as much as they cost time; "global" removes what is
            least important, wherever it is.
        floor: share of a group that always stays; groups that may vanish have none.
        measurements: how often a result may be measured and the prediction corrected; 0 trusts the
            table.

    Raises:
        GoalError: if a number is out of range.
        PlanError: if the norm or scope is unknown.
    """

    norm: Norm = "l2"
    scope: Scope = "uniform"
    floor: float = 0.125
    measurements: int = 4
    name: ClassVar[str] = "latency"
    own_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.norm not in ("l1", "l2"):
            raise PlanError(f"norm '{self.norm}' is unknown; give l1 or l2")
        if self.scope not in ("uniform", "global"):
            raise PlanError(f"scope '{self.scope}' is unknown; give uniform or global")
        if not 0 <= self.floor <= 1:
            raise GoalError(f"floor {self.floor:g}: give a share of each group from 0 to 1")
        if self.measurements < 0:
            raise GoalError(f"measurements {self.measurements}: must be 0 or more")

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan.

        Raises:
            GoalError: if there is no target, it is out of reach, or the table is of another model.
            RuntimeFailure: if the model cannot be run.
        """
        bound = _bound(context)
        _require_original(program, context)
        context.progress(0, 0, "listing the kernels of the original")
        percentile = "p50" if bound is None else bound.percentile
        model = predict_from_table(program, percentile, context)
        importance = measure_importance(program, self.norm)
        search = LatencySearch(
            program,
            self._allocator(program, model, importance, bound),
            bound,
            context.goal,
            model.latency_ms(model.sizes),
            self.name,
        )
        if bound is None:
            rule = WidthRule("uniform", (), self.floor)
            return seek_fastest(search, rule, importance, _circumstances(context))
        if context.cost_table is not None or not self.measurements:
            return search.trust(_circumstances(context))
        with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
            original = write_original(program, Path(folder) / "original.onnx")
            measure = _measurer(original, bound, search.full_ms, context)
            return search.close(measure, self.measurements, context)

    def _allocator(
        self,
        program: Program,
        model: LatencyModel,
        importance: Mapping[str, FloatArray],
        bound: LatencyBound | None,
    ) -> LatencyAllocator:
        groups = [program.coupling.group(name) for name in model.groups]
        ladders = [
            with_useful_counts(build_ladder(group, importance[group.name]), model, place)
            for place, group in enumerate(groups)
        ]
        weights = (
            weigh_by_throughput(ladders, model, program)
            if bound is None
            else weigh_by_time(ladders, model)
        )
        lowest = [self._lowest_rung(ladder) for ladder in ladders]
        return LatencyAllocator(
            ladders,
            [losses_of(one, self.scope, w) for one, w in zip(ladders, weights, strict=True)],
            model,
            np.array(lowest, dtype=np.int64),
        )

    def _lowest_rung(self, ladder: Ladder) -> int:
        """Return the lowest rung; groups that may vanish go down to it, as in every width pass."""
        if not ladder.group.minimum:
            return 0
        first = int(np.searchsorted(ladder.counts, self.floor * ladder.group.size))
        return min(first, ladder.steps)


def _bound(context: Context) -> LatencyBound | None:
    """Return the latency to meet; None where other bounds are to be met as fast as possible."""
    bound = context.goal.latency_ms
    if isinstance(bound, LatencyBound):
        return bound
    if context.goal.bounds:
        return None
    raise GoalError(
        "latency has nothing to aim at; give a target such as --target-latency 0.5 or "
        "--target-flops 0.5, or a goal"
    )


def _require_original(program: Program, context: Context) -> None:
    """Refuse a program that was made smaller before: its original is not there to compare with."""
    if context.original is None:
        return
    before, now = (
        {name: tensor.shape for name, tensor in one.state().items()}
        for one in (context.original, program)
    )
    if before != now:
        raise GoalError(
            "latency: the model was made smaller by a pass before; put --pass latency in front of "
            "passes that train"
        )


def _circumstances(context: Context) -> str:
    table = context.cost_table
    if table is None:
        return "predicted from the cost table, not measured"
    return (
        f"predicted for {table.machine.cpu_model} with onnxruntime {table.machine.onnxruntime} "
        f"and {table.threads} threads; measure it there"
    )


def _measurer(original: Path, bound: LatencyBound, full_ms: float, context: Context) -> Measure:
    """Return what measures a decided program, in milliseconds of the original's ``full_ms``."""

    def measure(decided: Program) -> float:
        path = original.with_name("candidate.onnx")
        write_onnx(export_onnx(lower(decided)), path)
        found = bench(
            [original, path],
            context.threads,
            context.batch,
            seconds=_SECONDS,
            shapes=axis_sizes(decided),
            seed=context.goal.seed,
            peak_rss=False,
        )
        latency = read_latency(bound, found)
        return latency.share * full_ms if bound.relative else latency.reached_ms

    return measure
