"""Depth under a latency: which kernels go with a block, and that time is met with fewer blocks."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import compressc
from compressc.choices.blocks import LEFT_OUT
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.errors import ChoiceError, DataError, GoalError
from compressc.goal import Goal
from compressc.latency.block_kernels import find_block_kernels
from compressc.latency.latency_model import LatencyModel, build_latency_model
from compressc.passes.depth.pruning import Depth
from compressc.passes.latency.pruning import Latency
from compressc.plan import Plan
from compressc.program import Program
from compressc.runtime.cost_table import CostTable
from compressc.target import Target
from tests.latency.conftest import build_program, formula_table, full_kernels, kernels_of
from tests.noise_tasks import Noise

BLOCKS = ("a.0..b.0", "c.0..d.0")


def table() -> CostTable:
    """Return the cost table of some machine, which knows the network."""
    kernels = full_kernels("residual")
    made = formula_table(kernels)
    full = build_latency_model(couple(build_program("residual")), kernels, made)
    latency = dict.fromkeys(("p50", "p90", "p99"), full.latency_ms(full.sizes))
    return replace(made, networks={"n.onnx": replace(kernels, latency_ms=latency)})


def context(target: float, *, task: bool = True) -> Context:
    noise = Noise(dtype=torch.float32) if task else None
    return Context(Goal(latency_ms=target), task=noise, target=Target(cost_table=table()))


def model_of(program: Program) -> LatencyModel:
    return build_latency_model(couple(program), full_kernels("residual"), table())


def share_left(program: Program) -> float:
    """Return the latency under a program's plan beside the original's."""
    model, branches = model_of(program), couple(program).branches
    places = find_block_kernels(full_kernels("residual").kernels, branches.blocks)
    gone = frozenset().union(
        *(places[block.name] for block in branches.dropped(program.plan.choice))
    )
    left = model.without(gone).latency_ms(model.counts_of(program.plan))
    return left / model.latency_ms(model.sizes)


def test_the_kernels_of_a_block_are_those_that_are_gone_without_it() -> None:
    program = build_program("residual")
    assert [block.name for block in couple(program).branches.blocks] == list(BLOCKS)
    for name in BLOCKS:
        shorter = program.with_plan(Plan(choice={name: LEFT_OUT}))
        with tempfile.TemporaryDirectory() as folder:
            kernels = kernels_of(compressc.lower(shorter), Path(folder) / "shorter.onnx")
        built = build_latency_model(couple(compressc.lower(shorter)), kernels, table())
        full = model_of(program)
        expected = built.latency_ms(built.sizes) / full.latency_ms(full.sizes)
        assert share_left(shorter) == pytest.approx(expected, abs=0.02)


def test_what_reads_beside_the_block_stays() -> None:
    program = build_program("residual")
    kernels = full_kernels("residual").kernels
    places = find_block_kernels(kernels, couple(program).branches.blocks)
    layers = {name: {kernels[place].weight for place in places[name]} - {""} for name in BLOCKS}
    assert layers == {
        "a.0..b.0": {"a.0.weight", "b.0.weight"},
        "c.0..d.0": {"c.0.weight", "d.0.weight"},
    }
    assert not places[BLOCKS[0]] & places[BLOCKS[1]]


def test_depth_meets_a_latency_by_whole_blocks() -> None:
    program = build_program("residual")
    decided = Depth(samples=32)(program, context(0.65))
    assert not decided.plan.keep
    assert share_left(decided) <= 0.65
    notes = decided.history[-1].notes
    assert "of 2 blocks are left out" in notes[0]
    assert "measure it there" in notes[1]
    assert decided.history[-1].numbers["predicted_latency_ms"] > 0
    with pytest.raises(GoalError, match=r"latency target .* leaving out all 2 blocks .* takes"):
        Depth(samples=32)(program, context(0.01))


def test_a_latency_is_met_by_widths_and_blocks_together() -> None:
    program = build_program("residual")
    decided = Latency(depth=True, samples=32)(program, context(0.3))
    assert share_left(decided) <= 0.3 * (1 + 1e-6)
    line = decided.history[-1]
    assert "depths were tried" in line.notes[-1]
    assert line.numbers["blocks_left_out"] == len(decided.plan.choice)
    lowered = compressc.lower(decided)
    assert lowered.graph_module(torch.randn(3, 3, 8, 8)).shape == (3, 10)


def test_open_depth_asks_for_inputs_and_for_blocks() -> None:
    with pytest.raises(DataError, match="latency"):
        Latency(depth=True)(build_program("residual"), context(0.5, task=False))
    with pytest.raises(ChoiceError, match="latency: the network has no residual block"):
        Latency(depth=True)(build_program("depthwise"), context(0.5))
    with pytest.raises(GoalError, match="samples 0"):
        Latency(samples=0)
