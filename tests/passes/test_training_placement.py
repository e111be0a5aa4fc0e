"""Programs and batches on another device, with "meta" in the place of a GPU."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn

import compressc
from compressc.passes.training.placement import place_inputs, place_program, place_targets
from compressc.passes.training.randomness import seeded

META, CPU = torch.device("meta"), torch.device("cpu")


class Positions(nn.Module):
    """Makes a tensor of its own, on the device of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + torch.arange(x.shape[-1], device=x.device) + torch.zeros((), device=x.device)


def test_tensors_that_the_graph_makes_move_along():
    program = compressc.capture(Positions().eval(), (torch.randn(2, 3, 8, 8),))
    moved = place_program(program, META, channels_last=True)
    assert moved(torch.randn(2, 3, 8, 8, device=META)).device == META
    assert moved.train()(torch.randn(2, 3, 8, 8, device=META)).requires_grad
    # The program itself stays where it was.
    x = torch.randn(2, 3, 8, 8)
    stays = place_program(program, CPU, channels_last=False)
    assert torch.equal(stays(x), program.module()(x))


def test_the_layout_is_that_of_the_weights():
    program = compressc.capture(Positions().eval(), (torch.randn(2, 3, 8, 8),))
    for wanted in (True, False):
        module = place_program(program, CPU, channels_last=wanted)
        inputs = place_inputs((torch.randn(2, 3, 8, 8), torch.ones(2)), CPU, wanted)
        for tensor in (module.get_parameter("conv.weight"), inputs[0]):
            assert tensor.is_contiguous(memory_format=torch.channels_last) == wanted


def test_targets_may_be_nested():
    targets = {"boxes": [torch.ones(2, 4)], "names": ("a", "b"), "count": 2}
    moved = place_targets(targets, META)
    assert moved["boxes"][0].device == META
    assert (moved["names"], moved["count"]) == (("a", "b"), 2)


def test_every_kind_of_randomness_comes_from_the_numbers_and_goes_back():
    def draw() -> tuple[float, float, float]:
        return (float(torch.rand(())), float(np.random.rand()), random.random())

    def within(*numbers: int) -> tuple[float, float, float]:
        with seeded(CPU, *numbers):
            return draw()

    state = torch.get_rng_state()
    assert within(0, 1) == within(0, 1)
    assert all(one != other for one, other in zip(within(0, 1), within(1, 0), strict=True))
    random.seed(5)
    np.random.seed(5)
    expected = draw()[1:]
    torch.set_rng_state(state)
    random.seed(5)
    np.random.seed(5)
    within(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert draw()[1:] == expected
