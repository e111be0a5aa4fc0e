"""Inputs that are lists, dicts, None or numbers become one argument per tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.frontend.tracing import capture
from compressc.goal import Goal
from compressc.settings import Settings


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 64), nn.Linear(64, 5)

    def compute(self, x: Tensor, y: Tensor | None = None, scale: float = 1.0) -> Tensor:
        hidden = torch.relu(self.up(x))
        if y is not None:
            hidden = hidden + self.up(y)
        return self.down(hidden) * scale


class Optional(Base):
    def forward(self, x, mask=None, y=None, scale=2):
        return self.compute(x, y, scale)


class Listed(Base):
    def forward(self, inputs):
        return self.compute(*inputs)


class Named(Base):
    def forward(self, inputs):
        return self.compute(inputs["x"], inputs["y"])


X, Y = torch.randn(2, 8), torch.randn(2, 8)
CASES = [
    (Optional(), (X, None, Y), ("x", "y")),
    (Optional(), (X, None, Y, 3), ("x", "y")),
    (Optional(), (X, None, None, 2.5), ("x",)),
    (Listed(), ([X, Y],), ("inputs_0", "inputs_1")),
    (Named(), ({"x": X, "y": Y},), ("inputs_x", "inputs_y")),
]


@pytest.mark.parametrize(("model", "inputs", "names"), CASES)
def test_every_tensor_is_an_input_of_its_own(
    model: nn.Module, inputs: tuple[Any, ...], names: tuple[str, ...]
) -> None:
    program = capture(model.eval(), inputs)
    assert program.input_names == names
    with torch.no_grad():
        wanted = model(*inputs)
        found = program.module()(*program.example_inputs)
    torch.testing.assert_close(found, wanted)


def test_such_a_model_goes_all_the_way(tmp_path):
    result = compressc.compress(
        Named().eval(), ({"x": X, "y": Y},), goal=Goal(macs=0.5), settings=Settings(measure=False)
    )
    result.export(tmp_path / "small.onnx")
    result.program.save(tmp_path / "small.pt2")
    again = compressc.load(tmp_path / "small.pt2")
    assert again.input_names == ("inputs_x", "inputs_y")
    with torch.no_grad():
        torch.testing.assert_close(again.module()(X, Y), result.program.module()(X, Y))
