"""Lowering: what the smaller program is, besides equal to the masked one."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.coupling.graph import cost_of, couple
from compressc.errors import PlanError
from compressc.frontend.tracing import capture, program_from_exported
from compressc.lowering.lowered import lower
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.proof.masking import masked
from tests.oracle import digest, fresh
from tests.plans import free_groups, random_plan, smallest_plan
from tests.strategies import Recipe

MIXED = Recipe((("shuffle", 0), ("grouped", 1), ("attention", 2), ("pad_shortcut", 2)), "dict")


@pytest.fixture(scope="module")
def program() -> Program:
    captured = MIXED.capture()
    return captured.with_plan(random_plan(couple(captured), 0))


def test_the_input_program_is_left_alone(program: Program) -> None:
    before, names = digest(program), set(program.state())
    lowered = lower(program)
    assert digest(program) == before
    assert program.plan
    assert set(program.state()) == names
    # Nothing is shared that training the result could change in the original.
    with torch.no_grad():
        for tensor in lowered.module().parameters():
            tensor.zero_()
    assert digest(program) == before


def test_the_result_carries_no_plan_but_everything_else(program: Program) -> None:
    dated = program.with_line(HistoryLine("decided"))
    lowered = lower(dated)
    assert not lowered.plan
    assert lowered.history == dated.history
    assert lowered.input_names == dated.input_names
    assert lowered.output_names == dated.output_names == ("logits", "probabilities")
    assert lowered.dynamic_axes == dated.dynamic_axes
    assert lowered.constraints == dated.constraints


def test_parameters_keep_their_names_and_lose_slices(program: Program) -> None:
    lowered = lower(program)
    before = dict(program.graph_module.named_parameters())
    after = dict(lowered.graph_module.named_parameters())
    assert set(after) == set(before)
    smaller = [name for name in after if after[name].numel() < before[name].numel()]
    assert len(smaller) > len(after) // 2
    assert all(after[name].is_contiguous() for name in after)
    assert all(isinstance(after[name], nn.Parameter) for name in after)
    assert all(after[name].requires_grad == before[name].requires_grad for name in after)


def test_kept_slices_hold_the_original_weights() -> None:
    program = Recipe((("conv", 0),)).capture()
    group = next(g for g in free_groups(couple(program)) if g.name == "blocks.0.conv")
    keep = np.array([False, True, True, False, True, False, False, True])
    lowered = lower(program.with_plan(Plan(keep={group.name: keep})))
    name = "blocks.0.conv.weight"
    torch.testing.assert_close(
        lowered.state()[name], program.state()[name][torch.as_tensor(keep)], rtol=0, atol=0
    )
    assert lowered.state()["final.0.weight"].shape[1] == 4


def test_the_result_runs_at_every_batch_size(program: Program) -> None:
    module = lower(program).graph_module
    for batch in (1, 2, 7):
        assert module(*MIXED.inputs(batch))["logits"].shape == (batch, 5)


@pytest.mark.parametrize("how", ["deepcopy", "save", "export", "pt2"])
def test_the_result_can_be_copied_saved_and_exported_again(
    program: Program, how: str, tmp_path: Path
) -> None:
    lowered = lower(program)
    module, inputs = lowered.module(), MIXED.inputs(3)
    expected = module(*inputs)
    if how == "deepcopy":
        again = copy.deepcopy(module)
    elif how == "save":
        buffer = io.BytesIO()
        torch.save(module, buffer)
        buffer.seek(0)
        again = torch.load(buffer, weights_only=False)
    elif how == "export":
        again = capture(module, MIXED.inputs()).module()
    else:
        compressc.save(lowered, tmp_path / "small.pt2")
        exported = torch.export.load(tmp_path / "small.pt2")
        again = program_from_exported(exported).module()
    found = again(*inputs)
    assert set(found) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)


def test_a_lowered_program_that_is_captured_again_has_the_same_coupling(
    program: Program,
) -> None:
    lowered = fresh(lower(program))
    again = capture(lowered.module(), MIXED.inputs())
    for left, right in zip(couple(lowered).groups, couple(again).groups, strict=True):
        assert (left.name, left.size, left.pinned is None) == (
            right.name,
            right.size,
            right.pinned is None,
        )
    assert cost_of(lowered) == cost_of(again)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.body = nn.Linear(6, 8)
        self.back = nn.Linear(8, 6)
        self.head = nn.Linear(6, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        return self.head(x + self.back(torch.relu(self.body(x))))


def test_a_tied_parameter_is_one_parameter_under_its_first_name() -> None:
    tokens = torch.randint(10, (3, 4))
    program = capture(Tied(), (tokens,))
    assert {name for name in program.state() if "embed" in name or "head" in name} == {
        "embed.weight"
    }
    mask = np.random.default_rng(0).random((10, 6)) < 0.5
    plan = smallest_plan(couple(program)).with_zero({"embed.weight": mask})
    lowered = lower(program.with_plan(plan))
    assert lowered.module()(tokens).shape == (3, 4, 10)
    assert cost_of(lowered).params < cost_of(program).params
    columns = next(
        group.name
        for group in free_groups(couple(program))
        for member in group.members
        if (member.tensor, member.axis) == ("embed.weight", 1)
    )
    zeroed = torch.as_tensor(~mask[:, plan.keep[columns]])
    assert torch.equal(lowered.state()["embed.weight"] == 0, zeroed)


def test_zero_masks_become_zeros_in_the_kept_slices() -> None:
    program = Recipe((("conv", 0),)).capture()
    name = "blocks.0.conv.weight"
    rng = np.random.default_rng(0)
    mask = rng.random(tuple(program.state()[name].shape)) < 0.5
    group = next(g for g in free_groups(couple(program)) if g.name == "blocks.0.conv")
    keep = np.arange(group.size) % 2 == 0
    plan = Plan(keep={group.name: keep}, zero={name: mask})
    before = program.state()[name].clone()
    found = lower(program.with_plan(plan)).state()[name]
    assert torch.equal(found == 0, torch.as_tensor(~mask[keep]))
    assert torch.equal(program.state()[name], before)


def test_choices_are_refused(program: Program) -> None:
    unchecked = replace(program, plan=Plan(choice={"node": 1}))
    for apply in (lower, masked):
        with pytest.raises(PlanError, match="no architecture node or block of that name"):
            apply(unchecked)


def test_a_plan_for_another_program_is_refused(program: Program) -> None:
    other = Recipe((("conv", 0),)).capture()
    with pytest.raises(PlanError, match="no ChannelGroup is called"):
        lower(replace(other, plan=program.plan))


def test_lowering_is_the_same_every_time(program: Program) -> None:
    assert digest(lower(program)) == digest(lower(fresh(program)))
