"""Latency: widths that meet a latency, from measured kernels, corrected by measuring the result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.errors import GoalError, PlanError
from compressc.goal import LatencyBound, parse_latency
from compressc.latency.latency_model import LatencyModel, build_latency_model
from compressc.latency.network_listing import (
    axis_sizes,
    find_listing,
    list_program,
    write_original,
)
from compressc.lowering.lowered import lower
from compressc.pass_protocol import Context
from compressc.passes.importance import Norm, measure_importance
from compressc.passes.ladders import Ladder, build_ladder
from compressc.passes.latency_allocation import (
    LatencyAllocation,
    LatencyAllocator,
    Scope,
    losses_of,
)
from compressc.program import Program, Step
from compressc.runtime.bench import bench
from compressc.runtime.cost_store import table_for
from compressc.runtime.cost_table import CostTable
from compressc.runtime.errors import RuntimeFailure

# A result this far below its target, or this much above it, is as good as exact.
_CLOSE = 0.05
_OVER = 0.01
_SECONDS = 3.0

Measure = Callable[[Program], float]


@dataclass(frozen=True)
class Latency:
    """Choose widths that meet a latency, measured in ONNX Runtime.

    Every kernel of the network is measured over the channel counts that it may have, once per
    machine and thread count; a plan's latency is the sum of its kernels. Among the plans that meet
    the target, the one that loses least importance is sought, groups that share kernels moving
    together. The model it makes is then measured beside the original, and the prediction corrected
    by what it got wrong, until the target is met within 5 % or no other plan is nearer.

    Attributes:
        target_latency: a ratio (0.5, 50%) or a time (5ms, 5ms@p90); "" for the goal's.
        cost_table: a file from ``compressc profile --cost-table`` of the machine to compress for;
            "" for this machine. Nothing is measured here then, so the prediction is not corrected.
        latency_threads, latency_batch: how the model will be run.
        norm: of the weights, see :func:`compressc.passes.importance.measure_importance`.
        scope: "uniform" cuts groups about as much as they cost time; "global" removes what is
            least important, wherever it is.
        floor: share of a group that always stays.
        measurements: how often a result may be measured and the prediction corrected; 0 trusts the
            table.

    Raises:
        GoalError: if the target, or a number, is out of range.
        PlanError: if the norm or scope is unknown.
    """

    target_latency: str = ""
    cost_table: str = ""
    latency_threads: int = 1
    latency_batch: int = 1
    norm: Norm = "l2"
    scope: Scope = "uniform"
    floor: float = 0.125
    measurements: int = 4
    name: ClassVar[str] = "latency"

    def __post_init__(self) -> None:
        parse_latency(self.target_latency or None)
        if self.norm not in ("l1", "l2"):
            raise PlanError(f"norm '{self.norm}' is unknown; give l1 or l2")
        if self.scope not in ("uniform", "global"):
            raise PlanError(f"scope '{self.scope}' is unknown; give uniform or global")
        if not 0 <= self.floor <= 1:
            raise GoalError(f"floor {self.floor:g}: give a share of each group from 0 to 1")
        for what in ("latency_threads", "latency_batch"):
            if getattr(self, what) < 1:
                raise GoalError(f"{what} {getattr(self, what)}: must be 1 or more")
        if self.measurements < 0:
            raise GoalError(f"measurements {self.measurements}: must be 0 or more")

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan.

        Raises:
            GoalError: if there is no target, it is out of reach, or the table is of another model.
            RuntimeFailure: if the model cannot be run, or the table cannot be read.
        """
        bound = self._bound(context)
        context.progress(0, 0, "listing the kernels of the original")
        model = self._model(program, bound, context)
        allocator = self._allocator(program, model)
        full_ms = model.latency_ms(model.sizes)
        search = _Search(
            program, allocator, bound.absolute(full_ms), self.name, full_ms, bound.percentile
        )
        if self.cost_table or not self.measurements:
            return search.trust(self._circumstances(model))
        with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
            original = write_original(program, Path(folder) / "original.onnx")
            measure = _measurer(self, original, bound, full_ms, context)
            return search.close(measure, self.measurements, context)

    def _bound(self, context: Context) -> LatencyBound:
        bound = parse_latency(self.target_latency or None) or context.goal.latency_ms
        if not isinstance(bound, LatencyBound):
            raise GoalError(
                "latency has nothing to aim at; give a target such as --target-latency 0.5"
            )
        return bound

    def _model(self, program: Program, bound: LatencyBound, context: Context) -> LatencyModel:
        if self.cost_table:
            table = _read_table(self.cost_table)
            kernels = find_listing(table, program.coupling)
            if table.threads != self.latency_threads:
                raise GoalError(
                    f"{self.cost_table}: was measured with {table.threads} threads, not "
                    f"{self.latency_threads}; measure it again with --threads "
                    f"{self.latency_threads}, or give --latency-threads {table.threads}"
                )
        else:
            kernels = list_program(program, self.latency_threads, self.latency_batch)
            table = table_for(kernels, self.latency_threads, progress=context.progress)
        measured_ms = kernels.latency_ms.get(bound.percentile)
        return build_latency_model(program.coupling, kernels, table, measured_ms)

    def _allocator(self, program: Program, model: LatencyModel) -> LatencyAllocator:
        importance = measure_importance(program, self.norm)
        groups = [program.coupling.group(name) for name in model.groups]
        ladders = [build_ladder(group, importance[group.name]) for group in groups]
        weights = _weights(ladders, model)
        lowest = [
            min(int(np.searchsorted(ladder.counts, self.floor * ladder.group.size)), ladder.steps)
            for ladder in ladders
        ]
        return LatencyAllocator(
            ladders,
            [losses_of(one, self.scope, w) for one, w in zip(ladders, weights, strict=True)],
            model,
            np.array(lowest, dtype=np.int64),
        )

    def _circumstances(self, model: LatencyModel) -> str:
        if not self.cost_table:
            return "predicted from the cost table, not measured"
        table = model.table
        return (
            f"predicted for {table.machine.cpu_model} with onnxruntime "
            f"{table.machine.onnxruntime} and {table.threads} threads; measure it there"
        )


def _weights(ladders: Sequence[Ladder], model: LatencyModel) -> list[float]:
    """Return the time that each group has to do with, as a share of the largest."""
    spent = [model.partial_ms(model.touched[i], model.sizes) for i in range(len(ladders))]
    return [ms / max([*spent, 1e-9]) for ms in spent]


def _read_table(path: str) -> CostTable:
    try:
        return CostTable.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RuntimeFailure(f"{path}: cannot be read ({error}); check the path") from error
    except RuntimeFailure as error:
        raise RuntimeFailure(f"{path}: {error}") from error


def _measurer(
    one: Latency, original: Path, bound: LatencyBound, full_ms: float, context: Context
) -> Measure:
    """Return what measures a decided program, in milliseconds of the original's ``full_ms``."""

    def measure(decided: Program) -> float:
        path = original.with_name("candidate.onnx")
        write_onnx(export_onnx(lower(decided)), path)
        found = bench(
            [original, path],
            one.latency_threads,
            one.latency_batch,
            seconds=_SECONDS,
            shapes=axis_sizes(decided),
            seed=context.goal.seed,
            peak_rss=False,
        )
        if bound.percentile == "p50" and bound.relative:
            return found.ratios[1].value * full_ms
        before, after = (
            float(getattr(m, f"latency_{bound.percentile}_ms")) for m in found.measurements
        )
        return after / before * full_ms if bound.relative else after

    return measure


@dataclass(frozen=True, eq=False)
class _Search:
    """The way from a target to a plan."""

    program: Program
    allocator: LatencyAllocator
    target_ms: float
    name: str
    full_ms: float
    percentile: str

    def trust(self, circumstances: str) -> Program:
        """Return the program with the plan that the table predicts to meet the target."""
        found = self._allocate(self.target_ms)
        note = f"latency {self._text(found.latency_ms)}, {circumstances}"
        return self._decided(found).with_step(Step(self.name, notes=(note,)))

    def close(self, measure: Measure, measurements: int, context: Context) -> Program:
        """Measure, correct, and choose again, until the target is met."""
        correction = 1.0
        seen: dict[tuple[int, ...], float] = {}
        best: tuple[float, LatencyAllocation] | None = None
        for number in range(measurements):
            context.progress(number, measurements, "measuring a candidate")
            # A table that is too pessimistic must not refuse what the machine can do: where it
            # finds nothing, the fastest plan is measured before anything is said.
            found = self.allocator.allocate(self.target_ms / correction) or self.allocator.fastest()
            key = tuple(found.rungs.tolist())
            if key in seen:
                break
            measured = seen[key] = measure(self._decided(found))
            if best is None or self._distance(measured) < self._distance(best[0]):
                best = measured, found
            if self._is_met(measured):
                break
            correction = measured / found.latency_ms
        assert best is not None
        fastest = self.allocator.fastest()
        if best[0] > (1 + _CLOSE) * self.target_ms and tuple(fastest.rungs.tolist()) in seen:
            raise self._unreachable(min(seen.values()))
        return self._explained(*best, len(seen))

    def _allocate(self, target_ms: float) -> LatencyAllocation:
        found = self.allocator.allocate(target_ms)
        if found is None:
            raise self._unreachable(self.allocator.fastest().latency_ms)
        return found

    def _unreachable(self, least_ms: float) -> GoalError:
        return GoalError(
            f"latency target {self._text(self.target_ms)}: the narrowest plan takes about "
            f"{self._text(least_ms)}; ask for at least that, lower --floor, or free layers that "
            "are kept"
        )

    def _decided(self, found: LatencyAllocation) -> Program:
        keep = {
            ladder.group.name: ladder.mask(int(rung))
            for ladder, rung in zip(self.allocator.ladders, found.rungs, strict=True)
            if rung < ladder.steps
        }
        plan = replace(self.program.plan, keep=keep)
        return self.program.with_plan(self.program.coupling.fit_ranks(plan))

    def _is_met(self, measured: float) -> bool:
        return 1 - _CLOSE <= measured / self.target_ms <= 1 + _OVER

    def _distance(self, measured: float) -> float:
        """Rank results: those that meet the target by nearness, those above it behind them."""
        share = measured / self.target_ms
        return 1 - share if share <= 1 + _OVER else share

    def _explained(self, measured: float, found: LatencyAllocation, candidates: int) -> Program:
        wrong = measured / found.latency_ms - 1
        notes = [
            f"latency {self._text(measured)} measured against a target of "
            f"{self._text(self.target_ms)}; the cost table said {found.latency_ms:.3g} ms "
            f"({-wrong / (1 + wrong):+.1%}), {candidates} candidates measured"
        ]
        if not self._is_met(measured):
            side = "below" if measured < self.target_ms else "above"
            notes.append(
                f"the target is missed by {abs(measured / self.target_ms - 1):.1%} ({side}): "
                "channel counts move in steps, and no nearer plan was found"
            )
        return self._decided(found).with_step(Step(self.name, notes=tuple(notes)))

    def _text(self, ms: float) -> str:
        return f"{ms:.3g} ms {self.percentile} ({ms / self.full_ms:.2f} of the original)"
