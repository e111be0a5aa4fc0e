"""Blocks run one after the other compute what the graph does; small networks can be put back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.coupling.graph import couple
from compressc.passes.reconstruction.blocks import extract_block, find_blocks
from compressc.passes.reconstruction.small_network import cut_small
from compressc.program import Program
from tests.plans import random_plan
from tests.search_kit import trained


class Chain(nn.Module):
    """Layers one after the other, in-place activations, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
        self.c, self.d = nn.Conv2d(6, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu_(self.a(x))
        x = torch.relu_(self.b(x))
        x = torch.relu_(self.c(x)).mean((2, 3))
        return {"logits": self.d(x), "features": x}


class Dense(nn.Module):
    """The input is read until the last layer: there is but one place to cut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(6, 3, 1)
        self.c = nn.Conv2d(9, 2, 1)

    def forward(self, x):
        y = self.a(x)
        return self.c(torch.cat([x, y, self.b(torch.cat([x, y], 1))], 1))


def captured(model: nn.Module) -> Program:
    torch.manual_seed(0)
    return compressc.capture(model.eval(), (torch.randn(2, 3, 9, 9),))


@pytest.mark.parametrize(
    ("program", "least", "layers"),
    [
        (captured(Chain()), 1, [1, 1, 1, 1]),
        (captured(Chain()), 2, [2, 2]),
        (captured(Dense()), 1, [2, 1]),
        (trained()[0], 1, [1, 2, 1, 1]),
        (trained()[0], 2, [3, 2]),
    ],
)
def test_blocks_in_a_row_are_the_network(program, least, layers):
    module = program.graph_module
    blocks = find_blocks(module.graph, least)
    kinds = {n.name: str(n.target) for n in module.graph.nodes}
    counted = [
        sum("conv" in kinds[name] or "linear" in kinds[name] for name in block.nodes)
        for block in blocks
    ]
    assert counted == layers
    x = torch.randn(2, *program.example_inputs[0].shape[1:])
    expected = module(x.clone())
    values = (x.clone(),)
    for block in blocks:
        values = (extract_block(module, block)(*values),)
    flat, same = (torch.utils._pytree.tree_leaves(v) for v in (expected, values[0]))
    assert all(torch.equal(a, b) for a, b in zip(flat, same, strict=True))


def test_a_small_network_is_the_lowered_one_and_goes_back_to_its_places():
    program, _ = trained()
    plan = random_plan(couple(program), 5)
    rng = np.random.default_rng(0)
    shape = tuple(program.state()["b.weight"].shape)
    planned = program.with_plan(plan.with_zero({"b.weight": rng.random(shape) > 0.5}))
    small = cut_small(planned)
    x = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(small.module(x), compressc.lower(planned).graph_module(x))
    before = {name: tensor.clone() for name, tensor in program.state().items()}
    state = {name: tensor.clone() for name, tensor in before.items()}
    with torch.no_grad():
        for name, parameter in small.module.named_parameters():
            parameter.mul_(1.5)
            if name in small.alive:
                parameter.mul_(small.alive[name])
    small.write_into(state)
    moved = compressc.lower(planned.with_state(state)).graph_module(x)
    torch.testing.assert_close(small.module(x), moved)
    assert not torch.allclose(moved, compressc.lower(planned).graph_module(x), atol=1e-2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state().items())


def test_layers_in_factors_stay_whole():
    program, _ = trained()
    plan = couple(program).fit_ranks(replace(program.plan, rank={"wide": (3,)}))
    small = cut_small(program.with_plan(plan))
    assert len(small.module.graph.nodes) == len(program.graph_module.graph.nodes)
