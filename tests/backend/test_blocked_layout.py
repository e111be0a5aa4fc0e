"""Rewrites for the blocked layout keep the numbers and refuse what they do not fit."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import compressc
from compressc.backend.onnx_export import export_onnx


class Shortcut(nn.Module):
    """A residual sum over a strided slice and a padding, as in option A of ResNet."""

    def __init__(self, step: int, start: int, padded: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3 + padded, 3, stride=step, padding=1)
        self.step, self.start, self.padded = step, start, padded

    def forward(self, x: Tensor) -> Tensor:
        cut = x[:, :, self.start :: self.step, self.start :: self.step]
        sides = (0, 0, 0, 0, self.padded // 2, self.padded - self.padded // 2)
        return self.conv(x) + functional.pad(cut, sides)


def exported(module: nn.Module) -> tuple[onnx.ModelProto, Tensor]:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return export_onnx(compressc.capture(module.eval(), (x,))), x


def kinds(model: onnx.ModelProto) -> list[str]:
    return sorted(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(
    ("step", "padded", "expected"),
    [(2, 0, ["Add", "AveragePool", "Conv"]), (2, 4, ["Add", "AveragePool", "Conv", "Pad"])],
)
def test_strided_slices_become_one_pooling(step: int, padded: int, expected: list[str]) -> None:
    module = Shortcut(step, 0, padded)
    model, x = exported(module)
    assert kinds(model) == expected
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(x).numpy(), atol=1e-6)


def test_a_slice_that_starts_late_stays_a_slice() -> None:
    module = Shortcut(2, 1, 0)
    assert "AveragePool" not in kinds(exported(module)[0])
