"""What users read of layers: widths of packed projections, names, which axis pins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.goal import Goal
from compressc.layer_names import owner_of
from compressc.passes.magnitude import Magnitude
from compressc.plan import Plan
from compressc.program import Constraints
from compressc.reporting.inspection import inspect_program


class Cross(nn.Module):
    """Attention of one sequence to another, behind a parametrised layer."""

    def __init__(self) -> None:
        super().__init__()
        self.pre = parametrizations.weight_norm(nn.Linear(16, 32))
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.out = nn.Linear(32, 5)

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return self.out(self.attention(self.pre(q), k, k, need_weights=False)[0])


@pytest.fixture(scope="module")
def cross() -> compressc.Program:
    torch.manual_seed(0)
    return compressc.capture(Cross().eval(), (torch.randn(2, 6, 16), torch.randn(2, 9, 32)))


def test_projections_of_cross_attention_have_widths_and_params(cross) -> None:
    rows = [(r.name, r.in_channels, r.out_channels, r.params) for r in couple(cross).layers(Plan())]
    linear = [row for row in rows if row[0] == "attention" and row[1]]
    assert linear == [("attention", 32, 32, 1024), ("attention", 32, 64, 2048)]
    weights = sum(x.numel() for x in cross.state().values() if x.dim() > 1)
    assert sum(row[3] for row in rows) == weights


def test_their_widths_follow_the_plan(cross) -> None:
    (group,) = (g for g in couple(cross).groups if g.name == "attention#2")
    keep = np.arange(group.size) < group.size // 2
    rows = couple(cross).layers(Plan(keep={group.name: keep}))
    assert [r.out_channels for r in rows if r.name == "attention" and r.in_channels] != [32, 64]
    lowered = compressc.lower(cross.with_plan(Plan(keep={group.name: keep})))
    again = [(r.in_channels, r.out_channels, r.params) for r in couple(lowered).layers(Plan())]
    assert again == [(r.in_channels, r.out_channels, r.params) for r in rows]


def test_a_parametrised_layer_is_called_by_its_own_name(cross) -> None:
    assert couple(cross).layers(Plan())[0].name == "pre"
    assert "pre.weight" in cross.state()
    kept = cross.with_constraints(Constraints(keep=("pre",)))
    assert couple(kept).groups
    assert not any("parametrizations" in group.name for group in couple(cross).groups)


class LowRank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(32, 1)), nn.Parameter(torch.randn(1, 16))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.a @ self.b


def test_a_layer_whose_weight_stays_computed_too() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    nn.utils.parametrize.register_parametrization(model[0], "weight", LowRank())
    program = compressc.capture(model.eval(), (torch.randn(2, 16),))
    assert [layer.name for layer in couple(program).layers(Plan())] == ["0", "2"]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("a.b.weight", "a.b"),
        ("weight", "weight"),
        ("pre.parametrizations.weight.original1", "pre"),
        ("a.parametrizations.weight.0.b", "a"),
        ("parametrizations.weight.original0", "parametrizations.weight.original0"),
    ],
)
def test_layers_of_tensors(name: str, layer: str) -> None:
    assert owner_of(name) == layer


def test_a_pin_names_the_input_and_its_axis(cross) -> None:
    reasons = " ".join(pin.reason for pin in inspect_program(cross).pins)
    assert "couples these channels with axis 2 of the model's input 'q'" in reasons
    assert "couples these channels with axis 2 of the model's input 'k'" in reasons


class Positions(nn.Module):
    """A table with one row for each position behind the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix = nn.Conv2d(3, 8, 4, 4), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.conv(x).flatten(2))


def test_a_pin_names_positions() -> None:
    program = compressc.capture(Positions().eval(), (torch.randn(2, 3, 16, 16),))
    reasons = {pin.reason for pin in inspect_program(program).pins}
    said = "linear in mix couples these channels with the positions behind conv2d in conv"
    assert said in reasons


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.b, self.head = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + self.b(self.a(x).relu()))


def test_ratios_match_any_layer_of_a_coupled_group() -> None:
    program = compressc.capture(Residual().eval(), (torch.randn(2, 3, 8, 8),))
    name = next(g.name for g in couple(program).groups if "b" in g.producers)
    assert name == "stem"
    for pattern in ("b", "stem"):
        keep = Magnitude(ratios=((pattern, 0.5),))(program, Context(Goal())).plan.keep
        assert {group: int(mask.sum()) for group, mask in keep.items()} == {"stem": 8}
