"""Models in half or double precision become float32 ones that compute the same."""

from __future__ import annotations

import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.errors import HandOverError
from compressc.frontend.number_types import in_float32

OTHERS = (torch.bfloat16, torch.float16, torch.float64)


class Casts(nn.Module):
    """Names its number type in the graph: tables, casts, and the lowest number there is."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3)
        self.fc = nn.Linear(32, 5)
        self.attention = nn.Linear(32, 32)
        self.dtype = dtype
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv(self.stem(x).relu()).relu().mean((2, 3))
        scale = torch.arange(1, 33, dtype=self.dtype, device=x.device) / 32
        scores = self.attention(hidden * scale).masked_fill(hidden < 0, torch.finfo(x.dtype).min)
        return self.fc(hidden + scores.softmax(-1).float().to(self.dtype))


@pytest.mark.parametrize("dtype", OTHERS)
def test_the_result_computes_what_the_model_does(dtype: torch.dtype, tmp_path) -> None:
    model = Casts(dtype).eval()
    x = torch.randn(4, 3, 8, 8).to(dtype)
    result = compressc.compress(
        model, (x,), goal=compressc.Goal(), passes=[], settings=compressc.Settings(measure=False)
    )
    assert f"computes in {str(dtype)[6:]}" in " ".join(result.report.notes)
    result.export(tmp_path / "out.onnx")
    session = ort.InferenceSession(str(tmp_path / "out.onnx"))
    got = session.run(None, {session.get_inputs()[0].name: x.float().numpy()})[0]
    assert got.dtype == "float32"
    with torch.no_grad():
        want = model.double()(x.double()) if dtype is torch.float64 else model(x)
    digits = 1e-5 if dtype is torch.float64 else 0.05
    torch.testing.assert_close(torch.from_numpy(got), want.float(), rtol=digits, atol=digits)


@pytest.mark.parametrize("dtype", OTHERS)
def test_it_can_be_made_smaller(dtype: torch.dtype) -> None:
    model = Casts(dtype).eval()
    result = compressc.compress(
        model,
        (torch.randn(2, 3, 8, 8).to(dtype),),
        goal=compressc.Goal(macs=0.6),
        passes="magnitude",
        settings=compressc.Settings(measure=False),
    )
    assert result.report.after.macs <= 0.6 * result.report.before.macs
    assert {tensor.dtype for tensor in result.program.state().values()} == {torch.float32}
    assert next(model.parameters()).dtype is dtype


@pytest.mark.parametrize("dtype", OTHERS)
def test_archives_too(dtype: torch.dtype, tmp_path) -> None:
    x = torch.randn(2, 3, 8, 8).to(dtype)
    exported = torch.export.export(Casts(dtype).eval(), (x,))
    torch.export.save(exported, tmp_path / "model.pt2")
    program = compressc.load(tmp_path / "model.pt2")
    assert program.example_inputs[0].dtype == torch.float32
    assert program.module()(torch.randn(2, 3, 8, 8)).dtype == torch.float32


def test_a_program_in_float32_is_returned_itself() -> None:
    program = compressc.capture(nn.Linear(3, 3), (torch.randn(2, 3),))
    assert in_float32(program) is program


class Bits(nn.Module):
    def forward(self, x):
        return x.view(torch.int16).float()


def test_bits_read_as_another_type_are_refused() -> None:
    program = compressc.capture(Bits(), (torch.randn(2, 4).half(),))
    with pytest.raises(HandOverError, match=r"reads the bits.*float32"):
        in_float32(program)
