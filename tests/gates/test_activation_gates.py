"""Gated network == masked network, and what gates leave as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.coupling.graph import couple
from compressc.passes.decore.policies import check_sampling
from compressc.passes.gates.activation_gates import GatedNetwork
from compressc.passes.gates.gated_units import GatedUnits, find_gated_units
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.proof.double_precision import doubled
from compressc.proof.equivalence import compare_modules
from compressc.proof.masking import masked
from compressc.proof.randomization import randomized
from tests.oracle import calibrate, inputs_for
from tests.passes.conftest import NETWORKS, capture, make_model
from tests.plans import random_plan
from tests.strategies import Recipe, every_block

CPU = torch.device("cpu")
# Random networks: every block once, two after another, heads and stems in turns.
_ALL = every_block()
RECIPES = [
    Recipe(
        (_ALL[i], _ALL[(5 * i + 3) % len(_ALL)]),
        head=("pooled", "flattened", "normed", "map")[i % 4],
        stem=("one", "sum", "cat")[i % 3],
    )
    for i in range(0, len(_ALL), 8)
]


def acting(agents: GatedUnits, program: Program, plan: Plan) -> Tensor:
    """Return the actions that say what a plan says, (1, agents)."""
    masks = {name: np.ones(couple(program).group(name).size) for name in agents.groups}
    masks |= {name: mask.astype(float) for name, mask in plan.keep.items() if name in masks}
    return torch.as_tensor(agents.flat(masks), dtype=torch.float32)[None]


def gated(program: Program, agents: GatedUnits) -> tuple[GatedNetwork, nn.Module]:
    network = GatedNetwork(program.module(), agents, CPU)
    return network, network.module.double().eval()


def differences(program: Program, agents: GatedUnits, seed: int) -> list[bool]:
    """Return, for random plans, whether the gated network computes what the masked one does."""
    passed = []
    for attempt in range(2):
        plan = random_plan(couple(program), seed + attempt)
        plan = Plan({name: mask for name, mask in plan.keep.items() if name in agents.groups})
        drawn = randomized(program.with_plan(plan), seed)
        reference, inputs = masked(drawn), inputs_for(program, 4, seed)
        calibrate(reference, inputs)
        network, module = gated(replace(drawn, plan=Plan()), agents)
        module.load_state_dict(drawn.graph_module.state_dict())
        network.set_factors(acting(agents, program, plan))
        passed.append(compare_modules(doubled(reference), module, inputs).passed)
    return passed


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_fixed_actions_are_masks(name: str) -> None:
    program = capture(make_model(name))
    assert all(differences(program, find_gated_units(program), seed=3))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: str(recipe.blocks))
def test_fixed_actions_are_masks_on_random_networks(recipe: Recipe) -> None:
    # Norms over channels see what is dropped while agents learn; strict, their channels stay.
    program = recipe.capture().with_constraints(Constraints(statistics="frozen"))
    assert all(differences(program, find_gated_units(program), seed=1))


@pytest.mark.parametrize("fault", ["missing gate", "wrong agents"])
def test_a_planted_fault_is_found(fault: str) -> None:
    program = capture(make_model("Residual"))
    agents = find_gated_units(program)
    first, *others = agents.gates
    if fault == "missing gate":
        faulty = replace(agents, gates=tuple(others))
    else:
        rolled = replace(first, units=(np.roll(first.units[0], 1),))
        faulty = replace(agents, gates=(rolled, *others))
    assert not all(differences(program, faulty, seed=3))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_each_image_has_actions_of_its_own(name: str) -> None:
    program = capture(make_model(name))
    agents = find_gated_units(program)
    network, module = gated(program, agents)
    (images,) = inputs_for(program, 3, 0)
    actions = (torch.rand(3, agents.count, generator=torch.Generator().manual_seed(0)) < 0.7) * 1.0
    with torch.no_grad():
        network.set_factors(actions)
        together = module(images)
        for row in range(3):
            network.set_factors(actions[row : row + 1])
            alone = module(images)[row]
            torch.testing.assert_close(together[row], alone)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gates_act_alike_in_both_layouts_and_so_do_gradients(layout: torch.memory_format) -> None:
    program = capture(make_model("Padded"))
    agents = find_gated_units(program)
    network, module = gated(program, agents)
    (images,) = inputs_for(program, 3, 0)
    gradients = []
    for wanted in (torch.contiguous_format, layout):
        module.to(memory_format=wanted)
        network.set_factors((torch.arange(3 * agents.count).reshape(3, -1) % 3 > 0).float())
        module.zero_grad()
        module(images.contiguous(memory_format=wanted)).square().sum().backward()
        gradients.append([p.grad.clone() for p in module.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_open_gates_change_nothing_and_no_state_is_added() -> None:
    program = capture(make_model("Concat"))
    _network, module = gated(program, find_gated_units(program))
    (images,) = inputs_for(program, 3, 0)
    plain = program.module().double()
    assert torch.equal(module(images), plain(images))
    assert list(module.state_dict()) == list(plain.state_dict())


def test_coupled_channels_share_an_agent_and_depthwise_layers_have_no_gate() -> None:
    residual = capture(make_model("Residual"))
    agents = find_gated_units(residual)
    # Stem and both sums are one group: 32 agents; and 48 and 64 inside the branches.
    assert sorted(agents.sizes) == [32, 48, 64]
    depthwise = capture(make_model("Depthwise"))
    nodes = {node.name: node for node in depthwise.graph_module.graph.nodes}
    readers = [nodes[name] for gate in find_gated_units(depthwise).gates for name in gate.readers]
    weights = [depthwise.state()[str(reader.args[1].target)] for reader in readers]
    # The two pointwise convolutions and the linear layer; each depthwise kernel is (C, 1, 3, 3).
    assert [tuple(weight.shape[:2]) for weight in weights] == [(64, 32), (96, 64), (10, 96)]


def test_the_state_of_a_recurrent_layer_has_no_agents() -> None:
    program = Recipe((("recurrent", 2), ("projection", 1))).capture()
    names = {group.name for group in couple(program).groups if group.pinned is None}
    assert "blocks.0.rnn" in names
    assert "blocks.0.rnn" not in find_gated_units(program).groups


def test_readers_of_one_value_share_a_gate() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 1)
            self.a, self.b = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).relu()
            return self.fc((self.a(x) * self.b(x)).mean((2, 3)))

    program = capture(Fork().eval())
    agents = find_gated_units(program)
    assert [len(gate.readers) for gate in agents.gates] == [2, 1]
    assert all(differences(program, agents, seed=0))


def test_a_value_changed_in_place_between_readers_has_two_gates() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 1)
            self.a, self.b, self.fc = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            first = self.a(x)
            x.mul_(0.5)
            return self.fc((first + self.b(x)).mean((2, 3)))

    program = capture(InPlace().eval())
    assert all(differences(program, find_gated_units(program), seed=0))


def test_rows_that_mix_images_are_refused_unless_actions_are_shared() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            # Tokens come first, as in sequence-first transformers.
            return self.b(self.a(x.transpose(0, 1)).relu()).mean(0)

    program = compressc.capture(Mixed().eval(), (torch.randn(2, 5, 6),))
    agents = find_gated_units(program)
    with pytest.raises(compressc.errors.PlanError, match="--sampling step"):
        check_sampling(agents)
    network, module = gated(program, agents)
    network.set_factors(torch.zeros(1, agents.count))
    (inputs,) = inputs_for(program, 3, 0)
    bias = program.state()["b.bias"].double()
    torch.testing.assert_close(module(inputs), bias.expand(3, 4))


def test_real_factors_scale_what_layers_read() -> None:
    """A factor on the inputs of a layer equals the same factor on the columns of its weight."""
    program = capture(make_model("Residual"))
    units = find_gated_units(program)
    network, module = gated(program, units)
    (images,) = inputs_for(program, 3, 0)
    factors = torch.randn(1, units.count, generator=torch.Generator().manual_seed(0)).double()
    network.set_factors(factors)
    plain = program.module().double()
    nodes = {node.name: node for node in program.graph_module.graph.nodes}
    with torch.no_grad():
        for gate in units.gates:
            (positions,) = gate.units
            extended = torch.cat([factors[0], torch.ones(1)])[torch.as_tensor(positions)]
            for name in gate.readers:
                weight = plain.get_parameter(str(nodes[name].args[1].target))
                weight.mul_(extended.view(1, -1, *[1] * (weight.dim() - 2)))
        torch.testing.assert_close(module(images), plain(images))


@pytest.mark.parametrize("rows", [1, 3])
def test_gradients_flow_to_real_factors(rows: int) -> None:
    program = capture(make_model("Concat"))
    units = find_gated_units(program)
    network, module = gated(program, units)
    (images,) = inputs_for(program, 3, 0)
    factors = torch.rand(rows, units.count, generator=torch.Generator().manual_seed(0)).double()
    factors.requires_grad_()
    network.set_factors(factors)
    module(images).square().sum().backward()
    assert factors.grad is not None
    assert (factors.grad != 0).any(1).all()
    # The right number, along a direction that moves all of them.
    direction = torch.randn_like(factors.detach())
    step, losses = 1e-6, []
    with torch.no_grad():
        for sign in (1, -1):
            network.set_factors(factors + sign * step * direction)
            losses.append(module(images).square().sum())
    slope = (losses[0] - losses[1]) / (2 * step)
    torch.testing.assert_close((factors.grad * direction).sum(), slope, rtol=1e-5, atol=1e-5)
