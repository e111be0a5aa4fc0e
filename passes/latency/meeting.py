"""Meeting a latency: widths by importance, from measured kernels, closed by a measurement."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressc.array_types import FloatArray
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.dynamic_axes import list_axis_sizes
from compressc.errors import GoalError
from compressc.goal import LatencyBound
from compressc.latency.latency_model import LatencyModel
from compressc.latency.measured_latency import read_latency
from compressc.latency.network_listing import write_original
from compressc.lowering.lowered import lower
from compressc.passes.latency.knapsack import LatencyAllocator, losses_of
from compressc.passes.latency.prediction import predict_from_table
from compressc.passes.latency.search import LatencySearch, Measure
from compressc.passes.latency.shares import weigh_by_throughput, weigh_by_time
from compressc.passes.latency.useful_counts import with_useful_counts
from compressc.passes.widths.allocation import Scope
from compressc.passes.widths.ladders import Ladder, build_ladder
from compressc.plan import Plan
from compressc.program import Program
from compressc.runtime.benchmark import bench

_SECONDS = 3.0


@dataclass(frozen=True)
class LatencyRule:
    """How widths are chosen.

    Attributes:
        scope: see :func:`compressc.passes.latency.knapsack.losses_of`.
        floor: share of a group that always stays; groups that may vanish have none.
        measurements: how often a result may be measured and the prediction corrected.
    """

    scope: Scope
    floor: float
    measurements: int


def open_search(
    program: Program,
    context: Context,
    importance: Mapping[str, FloatArray],
    rule: LatencyRule,
    name: str,
) -> LatencySearch:
    """Return the search for widths of a program that meet the goal.

    Args:
        program: the original, or one of its shapes.
        context: its goal has a latency, or bounds that are to be met as fast as possible.
        importance: per group that is not pinned, per unit.
        rule: how to choose.
        name: the pass, for the history and for errors.

    Raises:
        GoalError: if there is no target, or the table is of another model.
        RuntimeFailure: if the model cannot be run.
    """
    bound = _bound(context, name)
    _require_original(program, context, name)
    context.progress(0, 0, "listing the kernels of the original")
    percentile = "p50" if bound is None else bound.percentile
    model = predict_from_table(program, percentile, context)
    whole = model
    if program.plan.choice:
        whole = predict_from_table(program.with_plan(Plan()), percentile, context)
    return LatencySearch(
        program,
        _allocator(program, model, importance, rule, bound),
        bound,
        context.goal,
        whole.latency_ms(whole.sizes),
        name,
    )


def meet_latency(search: LatencySearch, rule: LatencyRule, context: Context) -> Program:
    """Return the program with widths that take the latency asked for.

    With a cost table of another device, or no measurements, the prediction is trusted.

    Raises:
        GoalError: if the target, or another bound of the goal, is out of reach.
        RuntimeFailure: if the model cannot be run.
    """
    bound = search.bound
    if bound is None or not context.target.is_here or not rule.measurements:
        return search.trust(describe_prediction(context))
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        original = write_original(search.program, Path(folder) / "original.onnx")
        measure = measure_beside(original, bound, search.full_ms, context)
        return search.close(measure, rule.measurements, context)


def describe_prediction(context: Context) -> str:
    """Return where a predicted latency comes from."""
    table = context.target.cost_table
    if table is None:
        return "predicted from the cost table, not measured"
    return (
        f"predicted for {table.machine.cpu_model} with onnxruntime {table.machine.onnxruntime} "
        f"and {table.threads} threads; measure it there"
    )


def _allocator(
    program: Program,
    model: LatencyModel,
    importance: Mapping[str, FloatArray],
    rule: LatencyRule,
    bound: LatencyBound | None,
) -> LatencyAllocator:
    groups = [couple(program).group(name) for name in model.groups]
    ladders = [
        with_useful_counts(build_ladder(group, importance[group.name]), model, place)
        for place, group in enumerate(groups)
    ]
    weights = (
        weigh_by_throughput(ladders, model, program)
        if bound is None
        else weigh_by_time(ladders, model)
    )
    lowest = [_lowest_rung(ladder, rule.floor) for ladder in ladders]
    return LatencyAllocator(
        ladders,
        [losses_of(ladder, rule.scope, w) for ladder, w in zip(ladders, weights, strict=True)],
        model,
        np.array(lowest, dtype=np.int64),
    )


def _lowest_rung(ladder: Ladder, floor: float) -> int:
    """Return the lowest rung; groups that may vanish go down to it, as in every width pass."""
    if not ladder.group.minimum:
        return 0
    first = int(np.searchsorted(ladder.counts, floor * ladder.group.size))
    return min(first, ladder.steps)


def _bound(context: Context, name: str) -> LatencyBound | None:
    """Return the latency to meet; None where other bounds are to be met as fast as possible."""
    bound = context.goal.latency_ms
    if isinstance(bound, LatencyBound):
        return bound
    if context.goal.bounds:
        return None
    raise GoalError(
        f"{name} has nothing to aim at; give a target such as --target-latency 0.5 or "
        "--target-flops 0.5, or a goal"
    )


def _require_original(program: Program, context: Context, name: str) -> None:
    """Refuse a program that was made smaller before: its original is not there to compare with."""
    if context.original is None:
        return
    before, now = (
        {key: tensor.shape for key, tensor in compared.state().items()}
        for compared in (context.original, program)
    )
    if before != now:
        raise GoalError(
            f"{name}: the model was made smaller by a pass before; put --pass {name} in front of "
            "passes that train"
        )


def measure_beside(
    original: Path, bound: LatencyBound, full_ms: float, context: Context
) -> Measure:
    """Return what measures a decided program, in milliseconds of the original's ``full_ms``.

    Args:
        original: its file; candidates are written beside it.
        bound: says which percentile counts.
        full_ms: what the original takes by the prediction.
        context: target and seed.
    """

    def measure(decided: Program) -> float:
        path = original.with_name("candidate.onnx")
        write_onnx(export_onnx(lower(decided)), path)
        result = bench(
            [original, path],
            context.target.threads,
            context.target.batch,
            seconds=_SECONDS,
            shapes=list_axis_sizes(decided),
            seed=context.goal.seed,
            peak_rss=False,
        )
        latency = read_latency(bound, result)
        return latency.share * full_ms if bound.relative else latency.reached_ms

    return measure
