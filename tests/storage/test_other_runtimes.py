"""Other runtimes read our files: OpenVINO, where it is installed (CI installs it)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import compressc
from compressc import Goal, Settings
from compressc.cli.main import main
from compressc.passes import Magnitude, Sparsify

openvino = pytest.importorskip("openvino", reason="openvino is not installed")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    ).eval()


def run_in_openvino(path: Path, x: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(x)[0])


@pytest.mark.parametrize("step", [Magnitude(), Sparsify(sparsity=0.8)])
def test_it_computes_what_torch_does(tmp_path: Path, step) -> None:
    goal = Goal(macs=0.6) if isinstance(step, Magnitude) else Goal()
    x = torch.randn(3, 3, 16, 16)
    result = compressc.compress(
        network(), x, goal=goal, passes=step, settings=Settings(measure=False)
    )
    with torch.no_grad():
        right = result.program.module().eval()(x).numpy()
    dense = result.export(tmp_path / "dense.onnx", storage="dense")
    np.testing.assert_allclose(run_in_openvino(dense, x.numpy()), right, atol=1e-5)
    compact = result.export(tmp_path / "compact.onnx", storage="compact")
    assert main(["expand", str(compact), "-o", str(tmp_path / "expanded.onnx")]) == 0
    expanded = run_in_openvino(tmp_path / "expanded.onnx", x.numpy())
    np.testing.assert_allclose(expanded, right, atol=1e-5)


def test_compact_storage_itself_is_what_it_refuses(tmp_path: Path) -> None:
    settings = Settings(measure=False, storage="compact")
    result = compressc.compress(
        network(),
        torch.randn(2, 3, 16, 16),
        goal=Goal(),
        passes=Sparsify(sparsity=0.8),
        settings=settings,
    )
    path = result.export(tmp_path / "compact.onnx")
    assert onnx.load(path).functions
    with pytest.raises(RuntimeError, match="compressc"):
        openvino.Core().compile_model(str(path), "CPU")
