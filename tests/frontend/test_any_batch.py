"""The batch stays dynamic: inputs in containers, of one axis, or with a batch of 1."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.errors import HandOverError

X, Y = torch.randn(2, 3, 12, 12), torch.randn(2, 2, 12, 12)
T = torch.randint(0, 10, (2,))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(2, 8, 3)

    def compute(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.left(x) + self.right(y)).relu().mean((2, 3))


class Listed(Two):
    def forward(self, inputs):
        return self.compute(inputs[0], inputs[1])


class Named(Two):
    def forward(self, inputs):
        return self.compute(inputs["x"], inputs["y"])


class Variadic(Two):
    def forward(self, *inputs):
        return self.compute(*inputs)


class Nested(Two):
    def forward(self, first, scale, rest):
        return self.compute(first, rest["deep"][0]) * scale


class Steps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 8)
        self.steps = nn.Embedding(10, 16)

    def forward(self, x, t):
        hidden = (self.conv(x) + self.steps(t)[:, :, None, None]).relu()
        return self.out(hidden.mean((2, 3)))


CASES = [
    (Listed(), ([X, Y],), 2),
    (Listed(), ((X, Y),), 2),
    (Named(), ({"x": X, "y": Y},), 2),
    (Variadic(), (X, Y), 2),
    (Nested(), (X, 2.0, {"deep": [Y]}), 2),
    (Steps(), (X, T), 2),
    (Steps(), (X[:1], T[:1]), 2),
    (nn.Conv2d(3, 4, 3), (X[:1],), 1),
]


@pytest.mark.parametrize(("model", "inputs", "count"), CASES)
def test_every_input_has_the_batch(model: nn.Module, inputs: tuple[Any, ...], count: int) -> None:
    program = compressc.capture(model.eval(), inputs)
    assert [dict(axes) for axes in program.dynamic_axes] == [{0: "batch"}] * count
    assert not any(line.notes for line in program.history)
    again = [torch.cat([tensor] * 3)[:5] for tensor in program.example_inputs]
    assert len(program.module()(*again)) == 5


def test_costs_are_those_of_one_sample() -> None:
    program = compressc.capture(Steps().eval(), (X, T))
    assert compressc.couple(program).cost(program.plan).macs == 144 * 27 * 16 + 16 * 8


def test_an_image_tells_the_batch_where_it_is_fixed() -> None:
    program = compressc.capture(Steps().eval(), (X, T), dynamic_shapes=None)
    assert compressc.couple(program).cost(program.plan).macs == 144 * 27 * 16 + 16 * 8


def test_files_work_at_any_batch(tmp_path) -> None:
    result = compressc.compress(
        Steps().eval(),
        (X, T),
        goal=compressc.Goal(macs=0.5),
        settings=compressc.Settings(measure=False),
    )
    result.export(tmp_path / "small.onnx")
    session = ort.InferenceSession(str(tmp_path / "small.onnx"))
    feeds = {"x": torch.randn(5, 3, 12, 12).numpy(), "t": torch.arange(5).numpy()}
    assert session.run(None, feeds)[0].shape == (5, 8)
    compressc.save(result.program, tmp_path / "small.pt2")
    loaded = torch.export.load(tmp_path / "small.pt2").module()
    assert loaded(torch.randn(5, 3, 12, 12), torch.arange(5)).shape == (5, 8)


class Table(nn.Module):
    """Its second input is as long as the batch by chance: one factor for each of two columns."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 2)

    def forward(self, x, factors):
        return self.fc(x) * factors


def test_a_table_as_long_as_the_batch_stays_as_it_is() -> None:
    program = compressc.capture(Table().eval(), (torch.randn(2, 12), torch.randn(2)))
    assert [dict(axes) for axes in program.dynamic_axes] == [{0: "batch"}, {}]


class Baked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 2)

    def forward(self, x):
        return self.fc(x).reshape(2, 2)


class Decides(Baked):
    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else self.fc(-x)


def test_a_fixed_batch_names_its_own_reason() -> None:
    program = compressc.capture(Baked().eval(), (torch.randn(2, 12),))
    (note,) = (note for line in program.history for note in line.notes)
    assert note.startswith("batch size is fixed")
    assert "control flow" not in note
    assert "x.shape[0]" in note


def test_data_dependent_control_flow_is_named() -> None:
    with pytest.raises(compressc.CompresscError, match=r"data-dependent control flow.*torch\.cond"):
        compressc.capture(Decides().eval(), (torch.randn(2, 12),))


def test_an_archive_with_a_fixed_batch_says_so_with_a_line_that_works(tmp_path) -> None:
    model, x, t = Steps().eval(), X, T
    torch.export.save(torch.export.export(model, (x, t)), tmp_path / "fixed.pt2")
    program = compressc.load(tmp_path / "fixed.pt2")
    (note,) = (note for line in program.history for note in line.notes)
    assert note.startswith("batch size is fixed at 2")
    names: dict[str, Any] = {"torch": torch, "model": model, "x": x, "t": t}
    first, second = note.partition("use ")[2].removesuffix(" with a batch of 2 or more").split("; ")
    exec(first, names)
    torch.export.save(eval(second, names), tmp_path / "dynamic.pt2")
    again = compressc.load(tmp_path / "dynamic.pt2")
    assert all(0 in axes for axes in again.dynamic_axes)
    assert not any(line.notes for line in again.history)


def test_inputs_that_do_not_fit_are_told() -> None:
    with pytest.raises(HandOverError, match="give one for each argument"):
        compressc.capture(nn.Linear(3, 3), (torch.randn(2, 3), torch.randn(2, 3)))
