"""Int8 models: what is quantised, what stays float, and how drift is judged."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.backend.output_drift import measure_drift
from compressc.backend.quantization import is_quantized, quantize
from compressc.backend.quantized_stem import float_stem
from compressc.errors import ExportError
from compressc.program import Program
from compressc.runtime.int8_weights import find_wide_weights
from compressc.runtime.session import create_session


class Net(nn.Module):
    def __init__(self, pool: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.wide = nn.Conv2d(16, 32, 1)
        self.side = nn.Conv2d(32, 32, 3, padding=1)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.pool(self.stem(x).relu())).relu()
        x = self.wide(x).relu()
        x = (x + self.side(x)).relu()
        return self.fc(x.mean((2, 3)))


def program_of(module: nn.Module) -> Program:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return compressc.capture(module, (torch.randn(2, 3, 8, 8),))


def feeds(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((8, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


@pytest.fixture(scope="module")
def exported() -> onnx.ModelProto:
    return export_onnx(program_of(Net()))


@pytest.fixture(scope="module")
def int8(exported: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of 7 bits, which every processor multiplies exactly."""
    return quantize(exported, feeds(2)).model


@pytest.fixture(scope="module")
def wide(exported: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of 8 bits, which need a processor with VNNI or an ARM one."""
    return quantize(exported, feeds(2), weight_bits=8).model


def runtime_operators(model: onnx.ModelProto, tmp_path: object) -> list[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = f"{tmp_path}/optimized.onnx"
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


def test_everything_behind_the_stem_runs_in_int8(int8: onnx.ModelProto, tmp_path: object) -> None:
    operators = runtime_operators(int8, tmp_path)
    assert operators.count("QLinearConv") == 2
    assert operators.count("Conv") == 2
    assert "QGemm" in operators
    assert "QLinearAdd" in operators
    assert "Gemm" not in operators


def test_weights_are_bytes_per_channel(int8: onnx.ModelProto) -> None:
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    weight, scale = tensors["side.weight_quantized"], tensors["side.weight_scale"]
    assert weight.dtype == np.int8
    assert scale.shape == (32,)
    assert "stem.weight" in tensors  # float


def test_the_model_stays_whole_and_the_original_as_it_was(exported: onnx.ModelProto) -> None:
    before = exported.SerializeToString()
    exported_again = onnx.load_from_string(before)
    onnx.helper.set_model_props(exported_again, {"compressc.normalization.mean": "0.5"})
    result = quantize(exported_again, feeds(1)).model
    onnx.checker.check_model(result, full_check=True)
    assert {p.key: p.value for p in result.metadata_props} == {
        "compressc.normalization.mean": "0.5",
        "compressc.runs_on": "any processor",
        "compressc.int8_weight_bits": "7",
    }
    assert [v.name for v in result.graph.output] == [v.name for v in exported.graph.output]
    assert result.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert exported.SerializeToString() == before
    assert is_quantized(result)
    assert not is_quantized(exported)


def test_a_pooling_behind_the_stem_quantises_it() -> None:
    assert float_stem(export_onnx(program_of(Net()))) == ("stem/Conv", "deep/Conv")
    assert float_stem(export_onnx(program_of(Net(pool=True)))) == ()


def test_the_last_layer_returns_floats(int8: onnx.ModelProto, exported: onnx.ModelProto) -> None:
    last = next(n for n in int8.graph.node if int8.graph.output[0].name in n.output)
    assert last.op_type == "Gemm"
    session = onnxruntime.InferenceSession(int8.SerializeToString())
    (found,) = session.run(None, feeds(4)[3])
    assert len(np.unique(found)) == found.size  # not rounded to 256 steps


def test_nothing_to_quantise_is_an_error() -> None:
    program = compressc.capture(nn.Softmax(dim=1), (torch.randn(2, 3, 8, 8),))
    with pytest.raises(ExportError, match="nothing to quantise"):
        quantize(export_onnx(program), [{program.input_names[0]: feeds(1)[0]["x"]}])


def test_weights_of_8_bits_say_that_they_need_a_processor_for_them(
    int8: onnx.ModelProto, wide: onnx.ModelProto
) -> None:
    stored = {entry.key: entry.value for entry in wide.metadata_props}
    assert stored["compressc.int8_weight_bits"] == "8"
    assert stored["compressc.runs_on"].startswith("x86-64 with VNNI")
    assert find_wide_weights(int8) == ()
    assert set(find_wide_weights(wide)) == {f"{n}.weight_quantized" for n in ("wide", "side", "fc")}
    largest = [
        max(np.abs(numpy_helper.to_array(t).astype(int)).max() for t in weights_of(model))
        for model in (int8, wide)
    ]
    assert largest == [64, 127]


def weights_of(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    tensors = model.graph.initializer
    return [t for t in tensors if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]


def test_an_8th_bit_makes_what_is_computed_in_floats_more_precise(
    exported: onnx.ModelProto, int8: onnx.ModelProto, wide: onnx.ModelProto
) -> None:
    """Without fusions the dequantised weights are multiplied as floats: no sum overflows."""

    def run(model: onnx.ModelProto) -> np.ndarray:
        session = create_session(model.SerializeToString(), "the model", optimize=False)
        return np.concatenate([session.run(None, batch)[0] for batch in feeds(2, seed=1)])

    exact, *others = map(run, (exported, int8, wide))
    errors = [np.sqrt(np.mean((other - exact) ** 2)) / exact.std() for other in others]
    assert errors[1] < errors[0] < 0.1


def test_drift_is_small_and_measured(exported: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    drift = measure_drift(exported, int8, feeds(2, seed=1))
    assert 0 < drift.relative_error < 0.1
    assert drift.snr_db > 20
    assert drift.agreement is not None
    assert drift.agreement > 0.7
    assert drift.samples == 16
    assert not drift.problem
    assert drift.informative
    assert measure_drift(exported, exported, feeds(1)).relative_error == 0


def test_an_output_that_never_varies_is_a_weak_test(exported: onnx.ModelProto) -> None:
    dull = onnx.load_from_string(exported.SerializeToString())
    weight = next(t for t in dull.graph.initializer if t.name == "fc.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 0, weight.name))
    drift = measure_drift(dull, dull, feeds(2))
    assert not drift.informative
    assert not drift.problem
    assert "weak test" in drift.text


@pytest.mark.parametrize(
    ("factor", "problem"),
    [(np.nan, "not finite"), (0.0, "same for every input"), (-1.0, "off by")],
)
def test_absurd_outputs_are_a_problem(
    exported: onnx.ModelProto, factor: float, problem: str
) -> None:
    wrong = onnx.load_from_string(exported.SerializeToString())
    weight = next(t for t in wrong.graph.initializer if t.name == "fc.weight")
    array = numpy_helper.to_array(weight) * np.float32(factor)
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    drift = measure_drift(exported, wrong, feeds(2))
    assert problem in drift.problem
