"""Small networks with the couplings that latency has to follow, and a table made by formula."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.coupling.graph import couple
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.runtime.cost_table import CostTable
from compressc.runtime.kernel_kinds import KernelKind, Widths
from compressc.runtime.kernel_list import KernelList, list_kernels
from compressc.runtime.machine import describe_machine
from compressc.runtime.width_grid import grid

BLOCK = 16


def conv(inputs: int, outputs: int, size: int = 3, conv_groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=conv_groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = conv(3, 48), conv(48, 96), conv(96, 48)
        self.c, self.d, self.fc = conv(48, 64), conv(64, 48), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.b(self.a(x))
        x = x + self.d(self.c(x))
        return self.fc(x.mean((2, 3)))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = conv(3, 32), conv(32, 32, conv_groups=32)
        self.wide, self.fc = conv(32, 96, 1), nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.wide(self.deep(self.stem(x))).mean((2, 3)))


class Concatenated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = conv(3, 32), conv(32, 48), conv(80, 64)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(64 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.pool(torch.cat([x, self.a(x)], 1))
        return self.fc(self.b(x).flatten(1))


NETWORKS = {"residual": Residual, "depthwise": Depthwise, "concatenated": Concatenated}


@cache
def build_program(name: str) -> Program:
    torch.manual_seed(0)
    program = compressc.capture(NETWORKS[name]().eval(), (torch.randn(2, 3, 8, 8),))
    return program.with_constraints(Constraints(multiple_of=BLOCK))


def kernels_of(program: Program, path: Path) -> KernelList:
    write_onnx(export_onnx(program), path)
    return list_kernels(path)


@cache
def full_kernels(name: str) -> KernelList:
    """The kernels of a network at full width; listed once, since that takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        return kernels_of(build_program(name), Path(folder) / "full.onnx")


def formula_ms(kind: KernelKind, widths: Widths) -> float:
    """What a kernel takes on the machine of these tests: its products, and its elements."""
    products = float(np.prod(widths)) if len(widths) == 2 else 0.0
    return 0.001 + 1e-4 * products + 1e-6 * kind.elements(widths)


def formula_table(kernels: KernelList) -> CostTable:
    cells = {
        kind: {w: formula_ms(kind, w) for w in [*grid(kind, most, BLOCK), most]}
        for kind, most in kernels.most.items()
    }
    return CostTable(describe_machine(), 1, BLOCK, 0.0002, 0.005, cells)


@cache
def halved(name: str) -> Program:
    """The program with about half of every group."""
    program = build_program(name)
    keep = {}
    for group in couple(program).groups:
        if group.pinned is None and group.size >= 2 * BLOCK:
            kept = group.size // 2 // BLOCK * BLOCK
            keep[group.name] = np.arange(group.size) < kept
    return program.with_plan(Plan(keep=keep))


@cache
def halved_kernels(name: str) -> KernelList:
    """The kernels of the halved network, lowered and exported."""
    with tempfile.TemporaryDirectory() as folder:
        return kernels_of(compressc.lower(halved(name)), Path(folder) / "halved.onnx")


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests count kernels; what they take is given by a formula."""
    monkeypatch.setattr("compressc.runtime.kernel_list._SECONDS", 0.02)
    monkeypatch.setattr("compressc.runtime.kernel_list._WARM_UP_SECONDS", 0.02)


@pytest.fixture(params=sorted(NETWORKS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)
