"""Files that ONNX Runtime quantised: the MACs are those of float32, wherever they run."""

import logging

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from compressc.reporting.profile_table import print_profile
from compressc.runtime.onnx_cost import count_cost
from compressc.runtime.profiling import profile
from compressc.runtime.roofline import Roofline

BATCH = 2
ROOFLINE = Roofline(1, 1e-3, ((1000, 100.0), (1_000_000, 10.0)), 0.0, 0.0002, 0.005)
MACS = {
    "stem": BATCH * 16 * 3 * 9 * 144,
    "body": BATCH * 16 * 16 * 9 * 144,
    "deep": BATCH * 16 * 9 * 144,
    "hidden": BATCH * 16 * 32,
    "head": BATCH * 32 * 12,
    "last": BATCH * 12 * 10,
}


@pytest.fixture(autouse=True)
def known_ceilings(monkeypatch):
    monkeypatch.setattr("compressc.runtime.profiling.measure_roofline", lambda threads: ROOFLINE)


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32) / 4


class Batches(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": random(4, 3, 12, 12)}]

    def get_next(self):
        return self.left.pop() if self.left else None


@pytest.fixture(scope="module")
def plain(build, tmp_path_factory):
    """Convolutions (one depthwise) with a sum, then all kinds of linear layers."""
    nodes = [
        helper.make_node("Conv", ["x", "a", "ab"], ["c1"], name="stem", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="stem_relu"),
        helper.make_node("Conv", ["r1", "b"], ["c2"], name="body", pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["s"], name="sum"),
        helper.make_node("Relu", ["s"], ["r2"], name="sum_relu"),
        helper.make_node("Conv", ["r2", "d"], ["c3"], name="deep", pads=[1] * 4, group=16),
        helper.make_node("GlobalAveragePool", ["c3"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "h"], ["m"], name="hidden"),
        helper.make_node("Add", ["m", "hb"], ["mb"], name="hidden_bias"),
        helper.make_node("Gemm", ["mb", "g", "gb"], ["z"], name="head", transB=1),
        helper.make_node("MatMul", ["z", "k"], ["y"], name="last"),
    ]
    weights = {
        "a": random(16, 3, 3, 3),
        "ab": random(16),
        "b": random(16, 16, 3, 3),
        "d": random(16, 1, 3, 3),
        "h": random(16, 32),
        "hb": random(32),
        "g": random(12, 32),
        "gb": random(12),
        "k": random(12, 10),
    }
    path = tmp_path_factory.mktemp("int8") / "plain.onnx"
    onnx.save(build(nodes, {"x": ["batch", 3, 12, 12]}, weights), path)
    return path


def static(form, activations=QuantType.QUInt8):
    def quantize(plain, path):
        quantize_static(
            plain,
            path,
            Batches(),
            quant_format=form,
            per_channel=True,
            activation_type=activations,
            weight_type=QuantType.QInt8,
        )

    return quantize


def dynamic(plain, path):
    quantize_dynamic(plain, path, weight_type=QuantType.QUInt8)


FORMS = {
    "qdq": static(QuantFormat.QDQ),
    "qdq, signed": static(QuantFormat.QDQ, QuantType.QInt8),
    "operators": static(QuantFormat.QOperator),
    "dynamic": dynamic,
}


@pytest.fixture(params=FORMS)
def quantized(request, plain, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    path = tmp_path / "int8.onnx"
    FORMS[request.param](plain, path)
    return path


def optimize(path):
    """Return the file as ONNX Runtime executes it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_name("optimized.onnx"))
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return path.with_name("optimized.onnx")


def test_int8_counts_what_float32_counts(plain, quantized):
    assert count_cost(plain, BATCH).macs == sum(MACS.values())
    for path in (quantized, optimize(quantized)):
        cost = count_cost(path, BATCH)
        assert cost.macs == sum(MACS.values())
        assert cost.uncounted == ()


def test_every_mac_of_an_int8_file_finds_its_kernel(quantized):
    result = profile(quantized, batch=BATCH, seconds=0.05)
    found = {layer.layer: layer.macs for layer in result.layers if layer.macs}
    # The dynamic quantiser calls its nodes hidden_quant and head_MatMul.
    assert {name.partition("_")[0]: macs for name, macs in found.items()} == MACS
    assert result.uncounted == ()


def test_int8_is_told_apart_from_the_float32_peak(plain, quantized, capsys):
    result = profile(quantized, batch=BATCH, seconds=0.05)
    labelled = [layer for layer in result.layers if layer.op.endswith(" (int8)")]
    assert labelled
    assert all(layer.macs for layer in labelled)
    # Products in float32 (signed activations have no int8 convolution on every machine) stay so.
    floats = [layer.op for layer in result.layers if layer.macs and layer not in labelled]
    assert all(op.startswith(("Conv", "FusedConv", "Gemm", "MatMul")) for op in floats)
    print_profile(result)
    said = " ".join(capsys.readouterr().out.split())
    kinds = {layer.op.removesuffix(" (int8)") for layer in labelled}
    assert all(kind in said for kind in kinds)
    assert "the measured peak is that of float32" in said
    assert "above 100 %" in said
    float_notes = " ".join(profile(plain, batch=BATCH, seconds=0.05).notes)
    assert "int8" not in float_notes
