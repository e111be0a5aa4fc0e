"""Networks that begin as if they had never been trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.errors import PlanError
from compressc.passes.training.fresh_weights import draw_fresh_weights
from compressc.plan import Plan
from tests.passes.training_kit import assert_same_weights, make_program


def trained() -> compressc.Program:
    program = make_program()
    state = {name: tensor + 1 for name, tensor in program.state().items()}
    return program.with_state(state)


def test_layers_are_drawn_and_norms_begin_anew() -> None:
    fresh = draw_fresh_weights(trained(), 0).state()
    assert fresh["b.weight"].std() == pytest.approx((2 / 72) ** 0.5, rel=0.1)
    assert fresh["b.weight"].mean().abs() < 0.02
    for name in ("a.bias", "b.bias", "fc.bias", "norm.bias", "norm.running_mean"):
        assert not fresh[name].any()
    for name in ("norm.weight", "norm.running_var"):
        assert (fresh[name] == 1).all()


def test_the_seed_decides_and_the_program_stays() -> None:
    program = trained()
    before = {name: tensor.clone() for name, tensor in program.state().items()}
    torch.manual_seed(1)
    first = draw_fresh_weights(program, 3)
    torch.manual_seed(2)
    assert_same_weights(draw_fresh_weights(program, 3), first)
    other = draw_fresh_weights(program, 4)
    assert not torch.equal(other.state()["fc.weight"], first.state()["fc.weight"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state().items())


def test_a_shared_weight_stays_shared() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
            self.other.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.other(self.one(x).relu())

    program = compressc.capture(Tied().eval(), (torch.randn(2, 4),))
    fresh = draw_fresh_weights(program, 0)
    x = torch.randn(3, 4)
    state = fresh.state()
    expected = (x @ state["one.weight"].T).relu() @ state["one.weight"].T
    torch.testing.assert_close(fresh.module()(x), expected)
    assert not torch.equal(state["one.weight"], program.state()["one.weight"])


def test_zeros_that_are_decisions_stay() -> None:
    zero = np.arange(48).reshape(4, 12) % 3 > 0
    program = compressc.lower(make_program().with_plan(Plan(zero={"fc.weight": zero})))
    fresh = draw_fresh_weights(program, 0).state()["fc.weight"]
    assert torch.equal(fresh != 0, torch.from_numpy(zero))


def test_what_has_no_usual_beginning_is_named() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) * self.scale

    program = compressc.capture(Scaled().eval(), (torch.randn(2, 4),))
    with pytest.raises(PlanError, match=r"^scale is read by no layer or norm"):
        draw_fresh_weights(program, 0)
