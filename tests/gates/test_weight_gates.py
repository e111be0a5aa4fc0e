"""Gates on weights: factors scale what layers read, and learn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

import compressc
from compressc.errors import PlanError
from compressc.passes.gates.weight_gates import GatedWeights
from tests.passes.training_kit import make_program

WEIGHTS = ("a.weight", "b.weight", "fc.weight")


def gate() -> GatedWeights:
    module = make_program().module()
    assert isinstance(module, fx.GraphModule)
    return GatedWeights(module.double(), WEIGHTS)


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def images() -> Tensor:
    return drawn((4, 3, 8, 8), 9)


def test_a_factor_of_one_changes_nothing_and_adds_no_state() -> None:
    gated, plain = gate(), make_program().module().double()
    assert torch.equal(gated.module(images()), plain(images()))
    gated.set_factors({name: torch.ones(1) for name in WEIGHTS})
    assert torch.equal(gated.module(images()), plain(images()))
    gated.set_factors({"fc.weight": nn.Parameter(torch.ones(1))})
    assert list(gated.module.state_dict()) == list(plain.state_dict())
    assert len(list(gated.module.parameters())) == len(list(plain.parameters()))


@pytest.mark.parametrize(
    "shapes",
    [((8, 3, 3, 3), (12, 8, 3, 3), (4, 12)), ((8, 1, 1, 1), (1, 8, 1, 1), (12,)), ((), (), (4, 1))],
    ids=["each weight", "each channel", "each layer"],
)
def test_gates_scale_the_weight(shapes: tuple[tuple[int, ...], ...]) -> None:
    gated, plain = gate(), make_program().module().double()
    named = zip(WEIGHTS, shapes, strict=True)
    factors = {name: drawn(shape, seed) for seed, (name, shape) in enumerate(named)}
    gated.set_factors(factors)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if name in factors:
                parameter.mul_(factors[name])
    assert torch.equal(gated.module(images()), plain(images()))
    # Another set of factors replaces this one; the weights are what they were.
    gated.set_factors({name: torch.ones(()) for name in WEIGHTS})
    assert torch.equal(gated.module(images()), make_program().module().double()(images()))


@pytest.mark.parametrize("name", WEIGHTS)
def test_gradients_flow_to_factors_and_weights(name: str) -> None:
    gated = gate()
    factor = drawn((1,), 0).requires_grad_()

    def loss(value: Tensor) -> Tensor:
        gated.set_factors({name: value})
        total: Tensor = gated.module(images()).square().sum()
        return total

    loss(factor).backward()
    assert factor.grad is not None
    # The right number: the slope of the loss along this factor.
    step = 1e-6
    with torch.no_grad():
        slope = (loss(factor + step) - loss(factor - step)) / (2 * step)
    torch.testing.assert_close(factor.grad[0], slope, rtol=1e-5, atol=1e-8)
    assert gated.module.get_parameter(name).grad is not None


def test_a_weight_that_is_read_twice_is_gated_twice() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.last = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.last.weight = self.fc.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.fc(x))

    module = compressc.capture(Tied().eval(), (torch.randn(2, 4),)).module()
    assert isinstance(module, fx.GraphModule)
    x = torch.randn(3, 4)
    before = module(x)
    GatedWeights(module, ["fc.weight"]).set_factors({"fc.weight": torch.tensor(2.0)})
    torch.testing.assert_close(module(x), 4 * before)


def test_what_does_not_fit_is_refused() -> None:
    gated = gate()
    with pytest.raises(PlanError, match=r"norm\.weight has no gate"):
        gated.set_factors({"norm.weight": torch.ones(8)})
    for shape in ((3,), (5, 12), (1, 4, 12)):
        with pytest.raises(PlanError, match="do not fit"):
            gated.set_factors({"fc.weight": torch.ones(shape)})
    with pytest.raises(PlanError, match="no parameter that the network reads"):
        GatedWeights(gated.module, ["norm.running_mean"])
