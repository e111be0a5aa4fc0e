"""Costs: counted right, and predicted exactly for every plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compressc.coupling.graph import cost_of, couple
from compressc.frontend.tracing import capture
from compressc.lowering.lowered import lower
from compressc.models.registry import architectures, build
from compressc.plan import Plan
from compressc.program import Program
from compressc.rules.propagation import named_tensors
from tests.oracle import check_costs, fresh
from tests.plans import free_groups, random_plan, single_plans, smallest_plan
from tests.strategies import Recipe, networks


def _counted(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    """Return torch's own count of MACs per sample."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(*inputs)
    flops = counter.get_total_flops()
    assert flops % (2 * len(inputs[0])) == 0
    return flops // (2 * len(inputs[0]))


def _bytes(program: Program) -> int:
    """Return the bytes of what the graph reads; counters of batches are for training only."""
    read = {str(node.target) for node in program.graph_module.graph.nodes if node.op == "get_attr"}
    found = named_tensors(program.graph_module).items()
    tensors = {id(t): t for name, t in found if name in read}
    return sum(t.numel() * t.element_size() for t in tensors.values())


@pytest.mark.parametrize(
    "blocks",
    [
        (("residual", 0), ("projection", 1), ("dense", 0)),
        (("depthwise", 1), ("grouped", 2), ("shuffle", 0)),
        (("attention", 1), ("attention", 5), ("mlp", 1)),
        (("linear_attention", 0), ("gram", 1), ("window_attention", 0)),
        (("sequence_conv", 0), ("sequence_conv", 1), ("squeeze_excite", 1)),
        (("transposed", 0), ("transposed", 1), ("transposed", 2), ("pixel_shuffle", 0)),
    ],
    ids=lambda blocks: "+".join(name for name, _ in blocks),
)
def test_macs_are_those_that_torch_counts(blocks: tuple[tuple[str, int], ...]) -> None:
    recipe = Recipe(blocks)
    program = recipe.capture()
    assert cost_of(program).macs == _counted(recipe.build(), recipe.inputs())


def test_fused_attention_counts_both_products() -> None:
    fused, written_out = (cost_of(Recipe((("attention", v),)).capture()).macs for v in (0, 1))
    assert fused == written_out


@pytest.mark.parametrize("name", ["digits_resnet", "lenet5", "shufflenet_v2_x1_0"])
def test_macs_of_our_models(name: str) -> None:
    architecture = architectures()[name]
    model = build(name)
    x = torch.randn(2, *architecture.input_shape)
    program = capture(model, (x,))
    assert cost_of(program).macs == _counted(model, (x,)) == architecture.macs
    assert cost_of(program).params == sum(p.numel() for p in model.parameters())


@given(recipe=networks(3), seed=st.integers(0, 1000))
def test_the_cost_of_a_plan_is_the_cost_of_what_it_lowers_to(recipe: Recipe, seed: int) -> None:
    program = recipe.capture()
    chosen = program.with_plan(random_plan(couple(program), seed))
    lowered = lower(chosen)
    check_costs(chosen, lowered)
    layers = couple(chosen).layers(chosen.plan)
    assert sum(layer.macs for layer in layers) == cost_of(chosen).macs
    assert [layer.macs for layer in layers] == [
        layer.macs for layer in couple(fresh(lowered)).layers(Plan())
    ]


def test_bytes_are_those_of_the_tensors() -> None:
    program = Recipe((("residual", 0), ("squeeze_excite", 0), ("grouped", 1))).capture()
    assert cost_of(program).size_bytes == _bytes(program)
    for plan in (random_plan(couple(program), 1), smallest_plan(couple(program))):
        chosen = program.with_plan(plan)
        assert cost_of(chosen).size_bytes == _bytes(lower(chosen))


def test_every_group_saves_something() -> None:
    program = Recipe((("inception", 0), ("selective", 0), ("hierarchy", 0))).capture()
    full = cost_of(program)
    plans = list(single_plans(couple(program)))
    assert len(plans) == len(free_groups(couple(program)))
    for plan in plans:
        cost = couple(program).cost(plan)
        assert cost.macs < full.macs
        assert cost.params < full.params


def test_removing_more_never_costs_more() -> None:
    program = Recipe((("conv", 0), ("residual", 0))).capture()
    group = free_groups(couple(program))[0]
    macs = [
        couple(program).cost(Plan(keep={group.name: np.arange(group.size) < count})).macs
        for count in range(max(group.minimum, 1), group.size + 1)
    ]
    assert macs == sorted(macs)
    assert len(set(macs)) == len(macs)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6, bias=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(torch.relu(self.layer(x)))


def test_shared_weights_count_once_but_multiply_twice() -> None:
    program = capture(Shared(), (torch.randn(2, 6),))
    assert cost_of(program).params == 36
    assert cost_of(program).macs == 72


def test_costs_do_not_depend_on_the_example_batch() -> None:
    recipe = Recipe((("attention", 1), ("batched_channels", 0)))
    costs = [cost_of(capture(recipe.build(), recipe.inputs(batch))) for batch in (2, 5)]
    assert costs[0] == costs[1]
