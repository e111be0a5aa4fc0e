"""Latency per layer: every layer is found in what ONNX Runtime made of the graph."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.latency.layer_latency import time_layers


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(32)
        self.heavy = nn.Conv2d(32, 32, 5, padding=2)
        self.light = nn.Conv2d(32, 32, 1)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x)).relu()
        x = (x + self.light(self.heavy(x).relu())).relu()
        return self.head(x.mean((2, 3)))


NAMES = {"stem", "heavy", "light", "head"}


@pytest.fixture(scope="module")
def times() -> dict[str, float]:
    torch.manual_seed(0)
    program = compressc.capture(Net(), (torch.randn(2, 3, 32, 32),))
    return time_layers(export_onnx(program), {*NAMES, "nowhere"}, seconds=0.1)


def test_every_layer_is_found_and_nothing_else(times: dict[str, float]) -> None:
    assert set(times) == NAMES


def test_the_heavy_layer_takes_most(times: dict[str, float]) -> None:
    # 25 times the multiplications of the 1x1 layer, 300 times those of the head.
    assert times["heavy"] > 3 * times["light"]
    assert times["heavy"] > 3 * times["head"]
