"""Which layers are switched, and what is said of the others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.errors import PlanError
from compressc.passes.snn.settings import Layers
from compressc.passes.snn.switched_layers import SwitchedLayer, find_switched_layers
from compressc.program import Constraints, Program
from tests.passes.training_kit import make_program as make_convolutional
from tests.snn.snn_kit import Perceptron, make_program


def names(program: Program, layers: Layers = "fc") -> list[str]:
    return [layer.name for layer in find_switched_layers(program, layers, "connection")[0]]


def test_layers_are_found_by_kind() -> None:
    assert names(make_program()) == ["fc1", "fc2", "fc3"]
    assert names(make_convolutional()) == ["fc"]
    assert names(make_convolutional(), "conv") == ["a", "b"]
    assert names(make_convolutional(), "all") == ["a", "b", "fc"]


def test_a_weight_is_read_as_a_matrix_with_a_row_for_each_input() -> None:
    dense = SwitchedLayer("fc", "fc.weight", (20, 12), "connection")
    weight = torch.randn(20, 12)
    assert (dense.rows, dense.columns) == (12, 20)
    assert torch.equal(dense.read(weight), weight.T)
    assert torch.equal(dense.fit(dense.read(weight)), weight)
    conv = SwitchedLayer("a", "a.weight", (5, 3, 2, 4), "connection")
    weight = torch.randn(5, 3, 2, 4)
    assert conv.read(weight).shape == (conv.rows, conv.columns) == (3, 40)
    assert torch.equal(conv.read(weight)[1], weight[:, 1].flatten())
    assert torch.equal(conv.fit(conv.read(weight)), weight)
    neuron = SwitchedLayer("a", "a.weight", (5, 3, 2, 4), "neuron")
    assert neuron.fit(torch.tensor([[1.0], [2.0], [3.0]])).tolist() == [[[[1]], [[2]], [[3]]]]


def test_kept_layers_are_left_alone_and_said() -> None:
    program = make_program().with_constraints(Constraints(keep=("fc2",)))
    layers, notes = find_switched_layers(program, "fc", "connection")
    assert [layer.name for layer in layers] == ["fc1", "fc3"]
    assert notes == ("fc2: not switched: kept by --keep fc2",)


def test_a_model_without_such_layers_is_refused() -> None:
    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)).mean((2, 3))

    program = compressc.capture(Conv().eval(), (torch.randn(2, 3, 8, 8),))
    with pytest.raises(PlanError, match=r"no fully connected layer.*--layers conv") as caught:
        find_switched_layers(program, "fc", "neuron")
    assert "\n" not in str(caught.value)
    layers, notes = find_switched_layers(program, "conv", "neuron")
    assert [layer.name for layer in layers] == ["a"]
    assert "conv groups" in notes[0]


class Shared(Perceptron):
    """One square layer in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.square = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc2(self.fc1(x).relu()).relu()
        return self.fc3(self.square(self.square(x).relu()).relu())


class Tied(Perceptron):
    """A weight that an operation reads that is no layer."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x).relu() + x @ self.fc1.weight.T
        return self.fc3(self.fc2(hidden).relu())


def test_a_shared_layer_is_one_layer() -> None:
    assert names(make_program(Shared)) == ["fc1", "fc2", "square", "fc3"]


def test_a_weight_that_something_else_reads_is_left_alone() -> None:
    layers, notes = find_switched_layers(make_program(Tied), "fc", "connection")
    assert [layer.name for layer in layers] == ["fc2", "fc3"]
    assert "reads its weight as well" in notes[0]
