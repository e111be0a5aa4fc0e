"""``--engine sparse``: sparse nodes in the file, compared in both runtimes, only where they pay."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.errors import ExportError, GoalError
from compressc.latency import sparse_choice
from compressc.runtime import engine_info
from compressc.settings import Int8, Settings
from compressc.target import Target

needs_engine = pytest.mark.skipif(
    not engine_info().instruction_sets, reason="no C++ compiler was there at installation"
)
UNMEASURED = Settings(measure=False)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    ).eval()


def compress(settings: Settings = UNMEASURED):
    return compressc.compress(
        network(),
        torch.randn(2, 3, 16, 16),
        passes=["sparsify"],
        goal=compressc.Goal(),
        target=Target(engine="sparse"),
        settings=settings,
    )


def operators(result) -> list[str]:
    return [node.op_type for node in result.onnx.graph.node]


@needs_engine
def test_the_file_has_one_sparse_node_proven_in_both_runtimes() -> None:
    result = compress()
    assert operators(result) == ["SparseGraph"]
    checks = {check.name: check.passed for check in result.report.verdict.checks}
    assert checks["torch == ONNX Runtime"]
    assert checks["torch == sparse engine"]
    (line,) = [
        n for row in result.report.passes for n in row.notes if "sparse nodes stand" in n
    ] or [n for n in result.report.notes if "sparse nodes stand" in n]
    assert "9 nodes" in line


@needs_engine
@pytest.mark.parametrize(("high", "expected"), [(1.2, "Conv"), (0.9, "SparseGraph")])
def test_the_faster_file_is_kept(monkeypatch, high: float, expected: str) -> None:
    ratio = SimpleNamespace(value=high, low=high - 0.05, high=high + 0.05, speedup=1 / high)
    result = SimpleNamespace(ratios=[None, ratio])
    monkeypatch.setattr(sparse_choice, "bench", lambda *a, **k: result)
    model = compress().program
    choice = sparse_choice.choose_sparse_nodes(export_onnx(model), 1, 1, {}, 1.0)
    assert expected in [node.op_type for node in choice.model.graph.node]
    assert f"{1 / high:.2f}x" in " ".join(choice.remarks)


def test_what_the_engine_lacks_is_refused() -> None:
    with pytest.raises(ExportError, match="no int8 kernels yet"):
        compress(Settings(measure=False, int8=Int8(force=True)))
    with pytest.raises(ExportError, match="compactly already"):
        compress(Settings(measure=False, storage="compact"))


def test_zeros_cost_nothing_there() -> None:
    assert Target(engine="sparse").zero_price.macs == 0
    assert Target().zero_price.macs == 1


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(GoalError, match="onnxruntime or sparse"):
        Target(engine="warp")  # type: ignore[arg-type]
