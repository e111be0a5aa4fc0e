"""The judge of the proof: it must see small errors and not be fooled by dull outputs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from compressc.coupling.graph import couple
from compressc.frontend.tracing import capture
from compressc.graphs.trainable import clone_module
from compressc.lowering.lowered import lower
from compressc.proof.equivalence import TOLERANCE, compare_modules, prove
from compressc.proof.randomization import random_inputs, randomized
from tests.plans import random_plan
from tests.strategies import Recipe


class Affine(nn.Module):
    def __init__(self, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def _x(batch: int = 4) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),)


def test_equal_modules_agree() -> None:
    verdict = compare_modules(Affine(), Affine(), _x())
    assert verdict.passed
    assert verdict.informative
    assert verdict.max_error == 0.0
    assert verdict.tolerance == TOLERANCE


@pytest.mark.parametrize("other", [Affine(1 + 1e-5), Affine(shift=1e-6), Affine(100.0)])
def test_small_and_large_errors_fail(other: nn.Module) -> None:
    assert not compare_modules(Affine(), other, _x()).passed


def test_errors_are_judged_against_the_variation_not_the_magnitude() -> None:
    far = Affine(1.0, 1e4)
    verdict = compare_modules(far, Affine(1.0, 1e4 + 1e-4), _x())
    assert not verdict.passed
    assert verdict.relative_error > 1e-5


class Returns(nn.Module):
    def __init__(self, *outputs: object) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> object:
        return [make(x) if callable(make) else make for make in self.outputs]


@pytest.mark.parametrize(
    "wrong",
    [
        Returns(lambda x: x, lambda x: x),
        Returns(lambda x: x[:, :1]),
        Returns(lambda x: x * float("nan")),
        Returns(lambda x: torch.where(x > 0, x, float("inf"))),
        Returns(),
    ],
    ids=["more outputs", "another shape", "nan", "infinite", "no outputs"],
)
def test_outputs_of_another_kind_fail(wrong: nn.Module) -> None:
    assert not compare_modules(Returns(lambda x: x), wrong, _x()).passed


def test_one_wrong_output_among_several_fails() -> None:
    right = Returns(lambda x: x * 1e3, lambda x: x)
    wrong = Returns(lambda x: x * 1e3, lambda x: x + 1e-5)
    assert not compare_modules(right, wrong, _x()).passed


def test_dull_outputs_are_not_informative() -> None:
    verdict = compare_modules(Affine(0.0, 3.0), Affine(0.0, 3.0), _x())
    assert verdict.passed
    assert not verdict.informative
    assert not compare_modules(Affine(0.0, 3.0), Affine(0.0, 3.1), _x()).passed


class ZeroHead(nn.Module):
    """A model whose own weights hide everything: the last layer is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 12), nn.Linear(12, 4)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)))


def test_weights_that_hide_errors_are_replaced_by_random_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = capture(ZeroHead(), (torch.randn(4, 6),))
    program = program.with_plan(random_plan(couple(program), 3))
    assert program.plan
    verdict = prove(program, lower(program))
    assert verdict.passed
    assert verdict.informative


def test_a_lowered_model_with_one_wrong_weight_is_caught() -> None:
    program = Recipe((("residual", 0), ("concat", 0))).capture()
    program = program.with_plan(random_plan(couple(program), 0))
    lowered = lower(program)
    assert prove(program, lowered).passed
    broken = clone_module(lowered.graph_module)
    with torch.no_grad():
        broken.get_parameter("final.0.weight")[0, 0] += 1e-3
    assert not prove(program, replace(lowered, graph_module=broken)).passed


def test_random_weights_leave_the_program_alone_and_follow_the_seed() -> None:
    program = Recipe((("conv", 0), ("attention", 0))).capture()
    before = {name: value.clone() for name, value in program.state().items()}
    first, again, other = (randomized(program, seed) for seed in (1, 1, 2))
    name = "blocks.0.conv.weight"
    assert all(torch.equal(value, program.state()[key]) for key, value in before.items())
    assert torch.equal(first.state()[name], again.state()[name])
    assert not torch.equal(first.state()[name], other.state()[name])
    assert first.state()[name].dtype == torch.float64


def test_random_inputs_keep_integers() -> None:
    numbers = torch.arange(6).reshape(2, 3)
    noise, same = random_inputs((torch.zeros(2, 3), numbers), 0)
    assert noise.dtype == torch.float64
    assert noise.std() > 0.1
    assert torch.equal(same, numbers)


def test_constants_keep_their_values() -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(4)
            self.register_buffer("root", torch.tensor(16.0))
            self.register_buffer("table", torch.arange(4.0))
            self.register_buffer("ones", torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x) * self.root.sqrt() + self.table * self.ones

    program = capture(Scaled().eval(), (torch.randn(3, 4),))
    state = randomized(program).state()
    assert state["root"] == 16
    assert state["table"].tolist() == [0, 1, 2, 3]
    # All alike would hide a wrong channel.
    assert len(set(state["ones"].tolist())) == 4
    assert len(set(state["norm.running_mean"].tolist())) == 4
