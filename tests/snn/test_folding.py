"""Folded, lowered networks compute what the gated ones did, and dead neurons are gone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

import compressc
from compressc.coupling.graph import cost_of
from compressc.passes.gates.weight_gates import GatedWeights
from compressc.passes.snn.folding import fold_factors
from compressc.passes.snn.settings import Layers, Mode
from compressc.passes.snn.switched_layers import SwitchedLayer, find_switched_layers
from compressc.passes.snn.unread_units import follow_unread
from compressc.program import Program
from tests.snn.snn_kit import Perceptron, make_program


class Mixed(nn.Module):
    """Convolutions, one of which pads, a skip, a batch norm and two fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.b, self.c = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 8, 3)
        self.fc1, self.fc2 = nn.Linear(32, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.a(x)).relu()
        x = x + self.b(x).relu()
        x = self.c(x).relu().flatten(1)
        return self.fc2(self.fc1(x).relu())


def mixed() -> Program:
    torch.manual_seed(0)
    return compressc.capture(Mixed().eval(), (torch.randn(2, 1, 4, 4),))


def sparse_factors(layers: tuple[SwitchedLayer, ...], zeros: float, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    factors = []
    for layer in layers:
        columns = layer.columns if layer.mode == "connection" else 1
        drawn = torch.rand(layer.rows, columns, generator=generator)
        off = torch.rand(layer.rows, columns, generator=generator) < zeros
        # Some inputs lose everything in the connection mode, too.
        off |= torch.rand(layer.rows, 1, generator=generator) < zeros / 2
        off[0] = False
        factors.append(torch.where(off, 0.0, drawn * 2))
    return factors


@pytest.mark.parametrize("mode", ["connection", "neuron"])
@pytest.mark.parametrize("layers", ["fc", "conv", "all"])
@pytest.mark.parametrize("seed", range(3))
def test_folded_is_gated(mode: Mode, layers: Layers, seed: int) -> None:
    program = mixed()
    switched, _ = find_switched_layers(program, layers, mode)
    factors = sparse_factors(switched, 0.6, seed)
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    gates = GatedWeights(module, [layer.weight for layer in switched])
    pairs = zip(switched, factors, strict=True)
    gates.set_factors({layer.weight: layer.fit(each) for layer, each in pairs})
    folded = fold_factors(program, program.state(), switched, factors)
    x = torch.randn(16, 1, 4, 4)
    lowered = compressc.lower(folded)
    torch.testing.assert_close(
        lowered.module().double()(x.double()), module.double()(x.double()), rtol=1e-5, atol=1e-6
    )
    assert folded.plan.zero or folded.plan.keep
    if layers == "all" and mode == "neuron":
        assert folded.plan.keep
        assert cost_of(lowered).params < cost_of(program).params
    # Zeros are decisions that later training keeps.
    for name, mask in folded.plan.zero.items():
        if name in lowered.state():
            assert name in lowered.sparse_weights
            assert not mask.all()


def test_a_neuron_is_an_input_of_the_layer_that_it_is_switched_at() -> None:
    program = make_program()
    switched, _ = find_switched_layers(program, "fc", "neuron")
    factors = [torch.ones(layer.rows, 1) for layer in switched]
    factors[1][3], factors[2][5] = 0.0, 2.5
    folded = fold_factors(program, program.state(), switched, factors)
    net = program.module()
    x = torch.randn(5, 12)
    hidden = net.fc1.weight @ x.T + net.fc1.bias[:, None]
    hidden = hidden.relu()
    hidden[3] = 0
    second = (net.fc2.weight @ hidden + net.fc2.bias[:, None]).relu()
    second[5] *= 2.5
    logits = (net.fc3.weight @ second + net.fc3.bias[:, None]).T
    torch.testing.assert_close(compressc.lower(folded).module()(x), logits)
    assert {name: np.flatnonzero(~mask).tolist() for name, mask in folded.plan.keep.items()} == {
        "fc1": [3]
    }
    assert not folded.plan.zero or set(folded.plan.zero) == {"fc2.weight"}


def test_what_only_dead_neurons_read_is_dead_too() -> None:
    program = make_program()
    switched, _ = find_switched_layers(program, "fc", "connection")
    living = {layer.weight: np.ones(layer.shape, dtype=bool) for layer in switched}
    # fc2's units 0 and 1 feed nothing; fc1's unit 7 feeds only these.
    living["fc3.weight"][:, :2] = False
    living["fc2.weight"][2:, 7] = False
    dead, left = follow_unread(program, switched, living)
    assert not left["fc2.weight"][:2].any()
    assert not left["fc1.weight"][7].any()
    assert {name: np.flatnonzero(mask).tolist() for name, mask in dead.items()} == {
        "fc1": [7],
        "fc2": [0, 1],
    }


def test_what_is_read_elsewhere_is_not_dead() -> None:
    class Skip(Perceptron):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.fc1(x).relu()
            return torch.cat([self.fc3(self.fc2(hidden).relu()), hidden[:, :3]], dim=1)

    program = make_program(Skip)
    switched, _ = find_switched_layers(program, "fc", "connection")
    living = {layer.weight: np.ones(layer.shape, dtype=bool) for layer in switched}
    living["fc2.weight"][:, :6] = False
    dead, _ = follow_unread(program, switched, living)
    assert not any(mask[:3].any() for name, mask in dead.items() if len(mask) == 20)


def test_a_neuron_that_nothing_feeds_goes_into_the_biases() -> None:
    program = make_program()
    switched, _ = find_switched_layers(program, "fc", "connection")
    factors = [torch.ones(layer.rows, layer.columns) for layer in switched]
    factors[1][:, 4] = 0.0  # all that fc2's unit 4 reads
    state = {name: each.clone() for name, each in program.state().items()}
    state["fc2.bias"][4] = 3.0
    folded = fold_factors(program, state, switched, factors)
    assert np.flatnonzero(~folded.plan.keep["fc2"]).tolist() == [4]
    small = compressc.lower(folded).module()
    x = torch.randn(5, 12)
    gated = program.with_state(state).module()
    with torch.no_grad():
        gated.fc2.weight[4] = 0
    torch.testing.assert_close(small(x), gated(x))
    assert small.fc2.weight.shape == (15, 20)
