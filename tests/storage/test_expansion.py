"""Expanded files hold the same weights, bit by bit, and nothing of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

import compressc
from compressc.cli.main import main
from compressc.errors import ExportError
from compressc.storage.expansion import expand
from compressc.storage.onnx_unpacking import DOMAIN

X = torch.randn(5, 3, 16, 16)


@pytest.fixture(scope="module")
def files() -> dict[str, onnx.ModelProto]:
    """The same network with 90 % zeros, dense and compact."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    ).eval()
    made = {}
    for storage in ("dense", "compact"):
        made[storage] = compressc.compress(
            model,
            X,
            goal=compressc.Goal(),
            passes=[compressc.find_pass("sparsify")(sparsity=0.9)],
            settings=compressc.Settings(measure=False, storage=storage),
        ).onnx
    return made


def run(model: onnx.ModelProto) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: X.numpy()})[0]


def test_expanding_undoes_packing(files) -> None:
    compact = files["compact"]
    assert any(function.domain == DOMAIN for function in compact.functions)
    before = compact.SerializeToString()
    expanded = expand(compact)
    assert compact.SerializeToString() == before
    assert not expanded.functions
    assert {entry.domain for entry in expanded.opset_import} == {""}
    assert not [node for node in expanded.graph.node if node.domain]
    onnx.checker.check_model(expanded, full_check=True)
    np.testing.assert_array_equal(run(expanded), run(compact))
    packed = {t.name: onnx.numpy_helper.to_array(t) for t in expanded.graph.initializer}
    dense = {t.name: onnx.numpy_helper.to_array(t) for t in files["dense"].graph.initializer}
    for name, array in dense.items():
        if array.dtype == np.float32:
            np.testing.assert_array_equal(packed[name], array)


def test_a_dense_file_stays_as_it_is(files) -> None:
    assert expand(files["dense"]) is files["dense"]


def test_a_weight_that_is_unpacked_from_an_input_is_refused(files) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(files["compact"])
    node = next(node for node in broken.graph.node if node.domain == DOMAIN)
    node.input[0] = broken.graph.input[0].name
    with pytest.raises(ExportError, match="no file of compressc"):
        expand(broken)


def test_the_command(files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "c.onnx", tmp_path / "d.onnx"
    onnx.save(files["compact"], source)
    assert main(["expand", str(source), "-o", str(target)]) == 0
    assert "wrote" in capsys.readouterr().out
    np.testing.assert_array_equal(run(onnx.load(target)), run(files["compact"]))
    assert main(["expand", str(source), "-o", str(source)]) == 7


@pytest.mark.parametrize("storage", ["dense", "compact"])
def test_the_dynamic_quantiser_of_onnx_runtime_takes_our_files(files, storage, tmp_path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(expand(files[storage]), tmp_path / "in.onnx")
    quantize_dynamic(tmp_path / "in.onnx", tmp_path / "out.onnx", weight_type=QuantType.QInt8)
    assert (
        np.corrcoef(run(onnx.load(tmp_path / "out.onnx")).ravel(), run(files[storage]).ravel())[
            0, 1
        ]
        > 0.9
    )


def test_files_say_what_they_are(files) -> None:
    text = files["dense"].doc_string
    assert "compressed by compressc" in text
    assert "100.0 % of the MACs" in text


def test_no_file_holds_what_nothing_reads(files) -> None:
    for model in files.values():
        read = {name for node in model.graph.node for name in node.input}
        assert {tensor.name for tensor in model.graph.initializer} <= read
        stored = {tensor.name for tensor in model.graph.initializer}
        assert not [info for info in model.graph.value_info if info.name in stored]
