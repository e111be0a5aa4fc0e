"""Containers: inputs become one argument per tensor, outputs builtin containers."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
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


QUICK = Settings(measure=False)
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
        Named().eval(), ({"x": X, "y": Y},), goal=Goal(macs=0.5), settings=QUICK
    )
    result.export(tmp_path / "small.onnx")
    compressc.save(result.program, tmp_path / "small.pt2")
    again = compressc.load(tmp_path / "small.pt2")
    assert again.input_names == ("inputs_x", "inputs_y")
    with torch.no_grad():
        torch.testing.assert_close(again.module()(X, Y), result.program.module()(X, Y))


Pair = namedtuple("Pair", ["a", "b"])


@dataclass
class Output:
    """What a library might return: a class of its own."""

    a: Tensor
    b: Tensor | None = None


torch.export.register_dataclass(Output, serialized_type_name="test_nested_inputs.Output")

RETURNED = [
    (lambda y: y, Tensor, ["output"]),
    (lambda y: (y, y + 1), tuple, ["output_0", "output_1"]),
    (lambda y: [y], list, ["output"]),
    (lambda y: {"a": y, "b": y + 1}, dict, ["a", "b"]),
    (lambda y: {"a": y, "b": (y, y + 1)}, dict, ["output_0", "output_1", "output_2"]),
    (lambda y: OrderedDict(a=y), dict, ["a"]),
    (lambda y: Pair(y, y + 1), (tuple, dict), ["output_0", "output_1"]),
    (lambda y: Output(y), dict, ["a"]),
    (lambda y: Output(y, y + 1), dict, ["a", "b"]),
]


class Returning(nn.Module):
    def __init__(self, arrange: Any) -> None:
        super().__init__()
        self.layer, self.arrange = nn.Linear(8, 4), arrange

    def forward(self, x: Tensor) -> Any:
        return self.arrange(self.layer(x))


@pytest.mark.parametrize(("arrange", "kind", "names"), RETURNED)
def test_outputs_need_no_foreign_class(arrange: Any, kind: Any, names: list[str], tmp_path) -> None:
    program = capture(Returning(arrange).eval(), (X,))
    assert isinstance(program.module()(X), kind)
    assert list(program.output_names) == names
    compressc.save(program, tmp_path / "model.pt2")
    again = compressc.load(tmp_path / "model.pt2")
    torch.testing.assert_close(_leaves(again.module()(X)), _leaves(program.module()(X)))


def test_an_output_named_like_an_input_gets_another_name(tmp_path) -> None:
    result = compressc.compress(
        Returning(lambda y: {"x": y}).eval(), (X,), goal=Goal(), passes=[], settings=QUICK
    )
    assert result.program.output_names == ("x_output",)
    assert [value.name for value in result.onnx.graph.output] == ["x_output"]


def _leaves(value: Any) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(value)
