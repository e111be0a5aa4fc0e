"""Attention without an axis of heads is exported, with a mask and without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from compressc.backend.onnx_export import export_onnx
from compressc.frontend.tracing import capture
from compressc.parity.onnx_parity import compare
from compressc.program import Program


class Windows(nn.Module):
    """Attention over five axes: batch, heads, windows, tokens, channels."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(3, 0, 4, 1, 2, 5)
        return self.out(scaled_dot_product_attention(*parts.unbind(0)).mean((1, 2)))


class Attention(nn.Module):
    def __init__(self, mask: tuple[int, ...] | None) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 4)
        self.bias = nn.Parameter(torch.randn(mask)) if mask else None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        bias = self.bias
        if bias is not None and bias.dim() == 3:
            bias = bias.expand(len(x), -1, -1)
        return self.out(scaled_dot_product_attention(q, k, v, attn_mask=bias))


def agrees_with_its_file(program: Program) -> bool:
    return compare(
        program.module(),
        export_onnx(program),
        program.example_inputs,
        batches=(1, 3),
        dynamic_axes=program.dynamic_axes,
    ).passed


@pytest.mark.parametrize("mask", [None, (6, 6), (1, 6, 6)])
def test_three_axes_are_exported_as_four(mask: tuple[int, ...] | None) -> None:
    torch.manual_seed(0)
    program = capture(Attention(mask).eval(), (torch.randn(2, 6, 16),))
    code = program.graph_module.code
    assert agrees_with_its_file(program)
    assert program.graph_module.code == code


def test_five_axes_are_exported_as_four() -> None:
    torch.manual_seed(0)
    program = capture(Windows().eval(), (torch.randn(2, 3, 6, 16),))
    assert agrees_with_its_file(program)
