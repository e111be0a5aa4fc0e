"""No pass hands out a width that is slower than the next wider one.

Latency here is a planted staircase: blocks of sixteen, and counts beside the fours out of layout.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import compressc
from compressc.array_types import IntArray
from compressc.clock import Clock, ignore_progress
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass, registered_passes
from compressc.coupling.graph import couple
from compressc.goal import Goal
from compressc.latency.latency_model import LatencyModel, build_latency_model
from compressc.passes.latency.knapsack import LatencyAllocation, LatencyAllocator
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.decisions import decide
from compressc.pipeline.job import Job
from compressc.program import Constraints, Program
from compressc.runtime.cost_table import CostTable
from compressc.runtime.kernel_kinds import KernelKind, Widths
from compressc.target import Target
from tests.latency.conftest import BLOCK, Residual, formula_ms, formula_table, full_kernels
from tests.noise_tasks import Mimicry

# Passes that repair or train, or choose architectures, decide no widths; those that search are
# given little to search for.
DECIDING = sorted(
    name
    for name in registered_passes()
    if name not in ("calibrate", "dead", "latency", "scas")
    and find_pass(name).declares.runs_on == "planned"
)


@cache
def program() -> Program:
    torch.manual_seed(0)
    return compressc.capture(Residual().eval(), (torch.randn(2, 3, 8, 8),))


def staircase(count: int) -> float:
    return -(-count // BLOCK) * (1.4 if count % 4 else 1.0)


def slower_than_wider(count: int, size: int) -> bool:
    return any(staircase(wider) < staircase(count) for wider in range(count + 1, size + 1))


def test_the_staircase_is_one() -> None:
    assert slower_than_wider(45, 96)
    assert slower_than_wider(11, 16)
    assert not slower_than_wider(48, 96)
    assert not slower_than_wider(40, 96)


@pytest.mark.parametrize("macs", [0.7, 0.45])
@pytest.mark.parametrize("name", DECIDING)
def test_passes_that_decide_stay_on_the_staircase(name: str, macs: float) -> None:
    one: Pass = find_pass(name)()
    context = Context(Goal(macs=macs, trials=12), task=Mimicry(program()), original=program())
    artifact = Artifact(
        Job(program()),
        Clock(ignore_progress),
        program(),
        program(),
        channel_step=BLOCK,
        may_relax=True,
    )
    found = decide(artifact, [one], context).program
    assert found.plan
    for mask in found.plan.keep.values():
        assert not slower_than_wider(int(mask.sum()), len(mask))


def uneven_ms(kind: KernelKind, widths: Widths) -> float:
    """A machine that is bad at 48 and 80 channels, as real ones are at some widths."""
    slow = 1.9 if any(width in (32, 48, 80) for width in widths) else 1.0
    return slow * formula_ms(kind, widths)


def uneven_model() -> tuple[CostTable, LatencyModel]:
    kernels = full_kernels("residual")
    plain = formula_table(kernels)
    cells = {kind: {w: uneven_ms(kind, w) for w in found} for kind, found in plain.cells.items()}
    table = replace(plain, cells=cells)
    model = build_latency_model(couple(program()), kernels, table)
    latency = dict.fromkeys(("p50", "p90", "p99"), model.latency_ms(model.sizes))
    listed = replace(kernels, latency_ms=latency)
    return replace(table, networks={"n.onnx": listed}), model


def slower_than_a_wider_one(model: LatencyModel, counts: IntArray) -> list[tuple[int, int, int]]:
    """Return (group, count, wider count) of all counts that a wider one would be faster than."""
    taken, found = model.latency_ms(counts), []
    for place, size in enumerate(model.sizes):
        for wider in range(int(counts[place]) + 1, int(size) + 1):
            other = counts.copy()
            other[place] = wider
            if model.latency_ms(other) < taken * (1 - 1e-9):
                found.append((place, int(counts[place]), wider))
    return found


def decide_by_latency(target: float) -> tuple[LatencyModel, IntArray]:
    table, model = uneven_model()
    free = program().with_constraints(Constraints())
    context = Context(Goal(latency_ms=target), target=Target(cost_table=table))
    counts = model.counts_of(find_pass("latency")()(free, context).plan)
    assert np.all(counts >= 1)
    return model, counts


@pytest.mark.parametrize("target", [0.9, 0.7, 0.5, 0.35])
def test_the_latency_pass_follows_what_was_measured(target: float) -> None:
    model, counts = decide_by_latency(target)
    assert (counts < model.sizes).any()
    assert slower_than_a_wider_one(model, counts) == []


def choose_at_random(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Let chance take the place of the knapsack, which would avoid slow counts by itself.

    So what is judged are the counts that a group may stop at, whatever is chosen among them.
    """

    def allocate(self: LatencyAllocator, _target_ms: float) -> LatencyAllocation:
        rng = np.random.default_rng(seed)
        tops = [ladder.steps for ladder in self.ladders]
        rungs = np.array(
            [rng.integers(low, top + 1) for low, top in zip(self.lowest, tops, strict=True)]
        )
        return LatencyAllocation(rungs, 1.0)

    monkeypatch.setattr(LatencyAllocator, "allocate", allocate)


def offer_every_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: no count is left out for being slow."""
    monkeypatch.setattr(
        "compressc.passes.latency.meeting.with_useful_counts", lambda ladder, _model, _place: ladder
    )


@pytest.mark.parametrize("seed", range(10))
def test_whatever_the_latency_pass_may_choose_is_faster_than_all_that_is_wider(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_at_random(monkeypatch, seed)
    model, counts = decide_by_latency(0.5)
    assert slower_than_a_wider_one(model, counts) == []
    offer_every_count(monkeypatch)
    model, counts = decide_by_latency(0.5)
    assert slower_than_a_wider_one(model, counts)
