"""Zero channels: the same outputs, and only where everything around them is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import compressc
from compressc.backend.channel_padding import pad_channels
from compressc.backend.onnx_export import export_onnx
from compressc.latency.padding_choice import pad_where_faster
from compressc.runtime.ratios import Ratio


class Residual(nn.Module):
    """Sums, a depthwise layer, poolings, a squeeze-and-excitation gate and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 21, 3, padding=1), nn.Conv2d(21, 13, 1), None
        self.b = nn.Conv2d(13, 21, 3, padding=1)
        self.deep = nn.Conv2d(21, 21, 3, padding=1, groups=21)
        self.down, self.up = nn.Conv2d(21, 6, 1), nn.Conv2d(6, 21, 1)
        self.fc = nn.Linear(21, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.b(torch.sigmoid(self.a(x)))
        x = nn.functional.max_pool2d(self.deep(x), 2)
        x = x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Chain(nn.Sequential):
    def __init__(self, width: int, last: nn.Module | None = None) -> None:
        layers = [nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()]
        super().__init__(*layers, last or nn.Conv2d(width, 4, 1))


class Concatenated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 9, 1), nn.Conv2d(3, 9, 1), nn.Conv2d(18, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.cat([self.a(x), self.b(x)], 1))


class Shared(nn.Module):
    """One convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 9, 1), nn.Conv2d(9, 9, 1), nn.Conv2d(9, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(torch.relu(self.b(self.a(x)))))


def export(model: nn.Module) -> onnx.ModelProto:
    torch.manual_seed(0)
    return export_onnx(compressc.capture(model.eval(), (torch.randn(2, 3, 12, 12),)))


def run(model: onnx.ModelProto) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((3, 3, 12, 12), dtype=np.float32)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def widths_of(model: onnx.ModelProto) -> set[int]:
    convolutions = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    return {t.dims[0] for t in model.graph.initializer if t.name in convolutions}


@pytest.mark.parametrize("multiple_of", [4, 16])
@pytest.mark.parametrize("build", [Residual, lambda: Chain(11), lambda: Chain(97)])
def test_the_outputs_stay_the_same(build: Callable[[], nn.Module], multiple_of: int) -> None:
    model = export(build())
    untouched = model.SerializeToString()
    padded = pad_channels(model, multiple_of)
    assert padded is not None
    assert model.SerializeToString() == untouched
    onnx.checker.check_model(padded.model, full_check=True)
    before, after = run(model), run(padded.model)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6 * np.abs(before).max())
    assert before.std() > 0


def test_everything_but_the_ends_is_aligned() -> None:
    padded = pad_channels(export(Residual()))
    assert padded is not None
    assert {width % 4 for width in widths_of(padded.model)} == {0}
    assert (21, 24) in padded.widths
    assert (13, 16) in padded.widths


def test_a_wrong_zero_would_be_seen() -> None:
    """Planted fault: one of the weights that read the new channels is not zero."""
    padded = pad_channels(export(Chain(11)))
    assert padded is not None
    *_, reader = (node.input[1] for node in padded.model.graph.node if node.op_type == "Conv")
    bias = next(node.input[2] for node in padded.model.graph.node if node.op_type == "Conv")
    for tensor in padded.model.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name == reader:
            array[:, -1] = 1.0
        elif array.shape == (12,) and tensor.name != bias:
            array[-1] = 1.0
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    assert np.abs(run(padded.model) - run(export(Chain(11)))).max() > 0.1


@pytest.mark.parametrize(
    "build",
    [
        lambda: Chain(16),
        lambda: Chain(20),  # the runtime pads fours to blocks by itself
        Concatenated,
        Shared,
        lambda: nn.Sequential(nn.Conv2d(3, 9, 3)),  # an output
        lambda: Chain(9, nn.Flatten()),  # pixels lie between its channels
    ],
)
def test_what_is_aligned_or_not_known_stays(build: Callable[[], nn.Module]) -> None:
    model = export(build())
    padded = pad_channels(model)
    widest = max(widths_of(model))
    # Only the layer in front of the one that must stay may have become wider.
    if padded is not None:
        assert widest % 4
        assert widest in widths_of(padded.model)
        np.testing.assert_allclose(run(padded.model), run(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "high", "is_padded"),
    [
        (0.9, 0.95, True),
        (0.97, 0.99, True),
        (0.994, 0.996, False),  # surely faster, but not worth it
        (0.9, 1.02, False),  # may be noise
        (1.2, 1.3, False),
    ],
)
def test_it_is_done_only_where_the_whole_file_is_measured_to_be_faster(
    value: float, high: float, is_padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, timed = export(Chain(11)), []

    def measure(paths: Sequence[Path], *_: object, **__: object) -> object:
        timed.append([widths_of(onnx.load(path)) for path in paths])
        ratio = Ratio(value, 2 * value - high, high, 0.99)
        return SimpleNamespace(ratios=(Ratio(1.0, 1.0, 1.0, 0.99), ratio))

    monkeypatch.setattr("compressc.latency.padding_choice.bench", measure)
    found, remark = pad_where_faster(model, 1, 1, {})
    assert timed == [[{4, 11}, {4, 12}]]
    assert (found is not model) is is_padded
    assert widths_of(found) == ({4, 12} if is_padded else {4, 11})
    assert ("11 to 12" in remark and f"{1 / value:.2f}x" in remark) is is_padded


def test_aligned_counts_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressc.latency.padding_choice.bench", None)
    model = export(Chain(12))
    assert pad_where_faster(model, 1, 1, {}) == (model, "")


def test_the_files_are_really_timed() -> None:
    model = export(Chain(11))
    found, remark = pad_where_faster(model, 1, 1, {}, seconds=0.1)
    assert (found is model) is (remark == "")
    np.testing.assert_allclose(run(found), run(model), rtol=1e-5, atol=1e-5)
