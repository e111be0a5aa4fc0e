"""Compact storage: same bits from stock ONNX Runtime, fewer bytes, nothing left at run time."""

import collections

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from compressc.errors import ExportError
from compressc.storage.compact_storage import compact

SHARES = (0.0, 0.05, 0.5, 0.9, 0.99, 0.999)


def sparse_array(shape, zeros, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    array = rng.standard_normal(shape).astype(dtype)
    flat = array.reshape(-1)
    flat[rng.permutation(flat.size)[: round(flat.size * zeros)]] = 0
    return array


def convolution(weight, opset=18):
    """Conv + BatchNormalization + Relu, so that fusion and layout have something to do."""
    out, width = weight.shape[0], weight.shape[1]
    rng = np.random.default_rng(1)
    scale, shift, mean, var = (rng.uniform(0.5, 1.5, out).astype(np.float32) for _ in range(4))
    constants = {"w": weight, "scale": scale, "shift": shift, "mean": mean, "var": var}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    return make_model(nodes, constants, ["batch", width, 8, 8], ["batch", out, 8, 8], opset)


def linear(weight, opset=18):
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
    return make_model(
        nodes, {"w": weight}, ["batch", weight.shape[1]], ["batch", len(weight)], opset
    )


def make_model(nodes, constants, input_shape, output_shape, opset):
    kind = helper.np_dtype_to_tensor_dtype(next(iter(constants.values())).dtype)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, input_shape)],
        [helper.make_tensor_value_info("y", kind, output_shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model, seed=3, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = level
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    info = session.get_inputs()[0]
    shape = [2 if isinstance(size, str) else size for size in info.shape]
    dtype = {"tensor(float)": "f4", "tensor(float16)": "f2", "tensor(double)": "f8"}[info.type]
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return session.run(None, {info.name: x})[0]


def optimized_operators(model, path):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


def weights_as_loaded(model, name="w"):
    """Return the bits of an initializer as ONNX Runtime rebuilds them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    info = next((v for v in copy.graph.value_info if v.name == name), None)
    if info is None:
        return numpy_helper.to_array(next(t for t in copy.graph.initializer if t.name == name))
    copy.graph.output.append(info)
    session = ort.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    shape = [1 if isinstance(size, str) else size for size in source.shape]
    return session.run([name], {source.name: np.zeros(shape, np.float32)})[0]


@pytest.mark.parametrize("zeros", SHARES)
@pytest.mark.parametrize("build", [convolution, linear])
def test_outputs_are_identical_and_the_file_is_no_larger(build, zeros, tmp_path):
    shape = (64, 48, 3, 3) if build is convolution else (200, 131)
    model = build(sparse_array(shape, zeros))
    packed, choices = compact(model)
    onnx.checker.check_model(packed, full_check=True)
    assert run(model).tobytes() == run(packed).tobytes()
    assert packed.ByteSize() <= model.ByteSize()
    choice = next(c for c in choices if c.name == "w")
    assert choice.zeros == pytest.approx(zeros, abs=1e-3)
    assert (choice.kind == "dense") == (zeros == 0)
    left_over = optimized_operators(packed, tmp_path / "packed.onnx")
    assert left_over == optimized_operators(model, tmp_path / "dense.onnx")


@pytest.mark.parametrize(("zeros", "ratio"), [(0.5, 0.49), (0.9, 0.111), (0.99, 0.018)])
def test_sizes_are_near_the_entropy(zeros, ratio):
    model = linear(sparse_array((512, 512), zeros))
    packed, _ = compact(model)
    assert packed.ByteSize() / model.ByteSize() < ratio


def test_sizes_in_the_choices_are_those_of_the_file():
    model = convolution(sparse_array((64, 48, 3, 3), 0.9))
    packed, choices = compact(model)
    by_name = {tensor.name: tensor.ByteSize() for tensor in packed.graph.initializer}
    nodes = [node for node in packed.graph.node if node.domain == "compressc"]
    stored = sum(size for name, size in by_name.items() if name.startswith("w0/"))
    stored += sum(node.ByteSize() for node in nodes)
    choice = next(c for c in choices if c.name == "w")
    assert choice.stored_bytes == pytest.approx(stored, rel=0.003)
    assert choice.dense_bytes > 4 * 64 * 48 * 9


def test_minus_zero_nan_infinity_and_denormals_keep_their_bits():
    weight = sparse_array((40, 60), 0.9)
    weight[0, :6] = [-0.0, np.nan, np.inf, -np.inf, 1e-42, -1e-30]
    weight[1, 0] = np.frombuffer(b"\x01\x00\xc0\xff", np.float32)[0]
    packed, choices = compact(linear(weight))
    assert choices[0].kind != "dense"
    assert weights_as_loaded(packed).tobytes() == weight.tobytes()


def test_minus_zeros_survive_in_split_floats():
    weight = sparse_array((400, 600), 0.9)
    weight[:5] = -0.0
    packed, choices = compact(linear(weight))
    assert "floats" in choices[0].kind
    assert weights_as_loaded(packed).tobytes() == weight.tobytes()


@pytest.mark.parametrize("part", ["zeros", "fractions", "exponents"])
@pytest.mark.parametrize("zeros", [0.5, 0.9])
def test_a_flipped_bit_changes_the_outputs(zeros, part):
    model = linear(sparse_array((400, 131), zeros))
    packed, choices = compact(model)
    assert "floats" in choices[0].kind
    tensor = next(t for t in packed.graph.initializer if t.name == f"w0/{part}")
    raw = bytearray(tensor.raw_data)
    raw[len(raw) // 3] ^= 0x10
    tensor.raw_data = bytes(raw)
    try:
        damaged = run(packed)
    except InvalidArgument:
        # One gap too many makes a value be read behind the last one, which is noticed as well.
        assert part == "zeros"
    else:
        assert run(model).tobytes() != damaged.tobytes()


@pytest.mark.parametrize("position", [0, 77, 2399])
def test_a_single_nonzero_is_stored_as_its_position(position):
    weight = np.zeros((40, 60), np.float32)
    weight.reshape(-1)[position] = 2.5
    model = linear(weight)
    packed, choices = compact(model)
    onnx.checker.check_model(packed, full_check=True)
    assert choices[0].kind == "scatter"
    assert packed.ByteSize() < 800
    assert run(model).tobytes() == run(packed).tobytes()


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5])
def test_a_constant_weight_is_stored_as_one_value(value, tmp_path):
    model = convolution(np.full((16, 16, 3, 3), value, np.float32))
    packed, choices = compact(model)
    assert choices[0].kind == "fill"
    assert packed.ByteSize() < 1000
    assert run(model).tobytes() == run(packed).tobytes()
    assert "ConstantOfShape" not in optimized_operators(packed, tmp_path / "packed.onnx")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_are_packed(dtype):
    model = linear(sparse_array((200, 131), 0.9, dtype=dtype))
    packed, choices = compact(model)
    assert choices[0].kind == "gaps"
    assert run(model).tobytes() == run(packed).tobytes()


def test_a_session_without_optimization_runs_the_file_too():
    model = linear(sparse_array((200, 131), 0.9))
    level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Not bit by bit: ONNX Runtime multiplies by constant weights in another order.
    np.testing.assert_allclose(run(model, level=level), run(compact(model)[0], level=level), 1e-4)


@pytest.mark.parametrize("opset", [14, 17, 20, 23])
def test_functions_work_in_every_opset(opset):
    for zeros in (0.5, 0.95):
        model = linear(sparse_array((400, 131), zeros), opset=opset)
        packed, _ = compact(model)
        onnx.checker.check_model(packed, full_check=True)
        assert packed.functions
        assert run(model).tobytes() == run(packed).tobytes()


def test_old_opsets_get_no_functions():
    model = linear(sparse_array((200, 131), 0.9), opset=12)
    packed, choices = compact(model)
    assert choices[0].kind == "scatter"
    assert not packed.functions
    assert run(model).tobytes() == run(packed).tobytes()


def test_the_input_is_untouched_and_public_weights_stay():
    model = linear(sparse_array((200, 131), 0.9))
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [200, 131]))
    before = model.SerializeToString()
    packed, choices = compact(model)
    assert model.SerializeToString() == before
    assert not choices
    assert [tensor.name for tensor in packed.graph.initializer] == ["w"]


def test_names_already_taken_are_avoided():
    model = linear(sparse_array((200, 131), 0.9))
    model.graph.node.append(helper.make_node("Identity", ["y"], ["w0/zeros"]))
    packed, _ = compact(model)
    onnx.checker.check_model(packed, full_check=True)
    assert run(model).tobytes() == run(packed).tobytes()


def test_a_compact_model_is_refused():
    packed, _ = compact(linear(sparse_array((200, 131), 0.9)))
    with pytest.raises(ExportError, match="compact already"):
        compact(packed)


def test_small_models_pay_for_no_function():
    model = linear(sparse_array((10, 10), 0.5))
    packed, choices = compact(model)
    assert choices[0].kind == "dense"
    assert not packed.functions
    assert packed.ByteSize() <= model.ByteSize()
