"""Params, sizes and bad files."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.onnx_cost import count_cost


def w(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def test_layers_add_up_and_name_their_nodes(build):
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="stem"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="head"),
    ]
    weights = {"w": w(4, 3, 3, 3), "b": w(4), "v": w(144, 10)}
    cost = count_cost(build(nodes, {"x": ["batch", 3, 8, 8]}, weights), batch=2)
    assert [(layer.name, layer.op) for layer in cost.layers] == [
        ("stem", "Conv"),
        ("r", "Relu"),
        ("f", "Flatten"),
        ("head", "Gemm"),
    ]
    stem, relu, _, head = cost.layers
    assert (stem.macs, stem.params, stem.output_shape) == (2 * 144 * 27, 112, (2, 4, 6, 6))
    assert (relu.macs, relu.params) == (0, 0)
    assert (head.macs, head.params, head.output_shape) == (2 * 1440, 1440, (2, 10))
    assert cost.macs == stem.macs + head.macs
    assert (cost.params, cost.batch) == (1552, 2)


def test_weights_shared_by_two_nodes_count_once(build):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["y"]),
    ]
    cost = count_cost(build(nodes, {"x": [1, 8]}, {"w": w(8, 8)}))
    assert (cost.macs, cost.params) == (128, 64)
    assert [layer.params for layer in cost.layers] == [64, 0]


def test_constants_count_and_shapes_indices_scalars_and_settings_do_not(build):
    def constant(name, **value):
        return helper.make_node("Constant", [], [name], **value)

    nodes = [
        constant("k", value=numpy_helper.from_array(w(8, 8))),
        constant("half", value_float=0.5),
        constant("bias", value_floats=[1.0] * 8),
        helper.make_node("MatMul", ["x", "k"], ["t"]),
        helper.make_node("Mul", ["t", "half"], ["u"]),
        helper.make_node("Add", ["u", "bias"], ["v"]),
        helper.make_node("Reshape", ["v", "shape"], ["r"]),
        helper.make_node("Resize", ["r", "", "scales"], ["z"]),
        helper.make_node("Gather", ["z", "index"], ["g"], axis=3),
        helper.make_node("Mul", ["g", "eps"], ["y"]),
    ]
    weights = {
        "shape": np.array([-1, 1, 2, 4], np.int64),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "index": np.array([0, 3], np.int64),
        "eps": np.array(1e-5, np.float32),
    }
    assert count_cost(build(nodes, {"x": ["n", 8]}, weights)).params == 64 + 8


def test_sparse_initializers_count_all_their_elements(build):
    model = build([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 6]})
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    places = helper.make_tensor("w_places", TensorProto.INT64, [2], [0, 7])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [6, 4]))
    cost = count_cost(model)
    assert (cost.macs, cost.params) == (24, 24)


def test_work_on_stored_tensors_alone_is_free_and_its_params_go_to_the_user(build):
    """Runtimes fold it while loading: a weight kept as a product of two is a plain weight."""
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["ab"]),
        helper.make_node("Transpose", ["ab"], ["w"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="user"),
    ]
    cost = count_cost(build(nodes, {"x": [1, 8]}, {"a": w(6, 2), "b": w(2, 8)}))
    assert [(layer.name, layer.macs, layer.params) for layer in cost.layers] == [("user", 48, 28)]


def test_a_quantised_weight_behind_a_view_counts(build):
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMulInteger", ["x", "t"], ["y"]),
    ]
    model = build(
        nodes,
        {"x": [2, 8]},
        {"w": w(5, 8, dtype=np.int8), "unused": w(9, dtype=np.int8)},
        dtypes={"x": TensorProto.INT8},
        output_dtype=TensorProto.INT32,
    )
    assert count_cost(model).params == 40


def test_counting_leaves_the_model_alone_and_ignores_stale_shapes(build):
    model = build([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 4]}, {"w": w(4, 3)})
    stale = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 99])
    model.graph.output[0].CopyFrom(stale)
    before = model.SerializeToString()
    assert count_cost(model, batch=7).macs == 7 * 12
    assert model.SerializeToString() == before


def test_large_weights_and_reshapes_by_small_initializers(build):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"]),
        helper.make_node("Reshape", ["t", "s"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    weights = {"w": w(100, 200), "s": np.array([0, 20, 10], np.int64), "v": w(10, 3)}
    cost = count_cost(build(nodes, {"x": ["n", 100]}, weights), batch=2)
    assert cost.macs == 2 * (100 * 200 + 20 * 10 * 3)
    assert cost.params == 20030


def test_a_batch_fixed_in_the_file_stands(build):
    model = build([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [4, 4]}, {"w": w(4, 3)})
    cost = count_cost(model, batch=2)
    assert (cost.batch, cost.macs) == (4, 48)


def test_sizes_of_other_axes_come_from_the_caller(build):
    inputs = {"x": ["n", "length", 4]}
    model = build([helper.make_node("MatMul", ["x", "w"], ["y"])], inputs, {"w": w(4, 3)})
    assert count_cost(model).macs == 128 * 12
    assert count_cost(model, shapes={"length": 10}).macs == 120
    assert count_cost(model, shapes={"x": (3, 5, 4)}).macs == 15 * 12
    with pytest.raises(RuntimeFailure, match=r"does not fit the input, which is n x length x 4"):
        count_cost(model, shapes={"x": (3, 5, 5)})


def test_size_counts_external_weights(build, tmp_path):
    model = build([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 64]}, {"w": w(64, 64)})
    onnx.save(model, tmp_path / "one.onnx")
    assert count_cost(tmp_path / "one.onnx").size_bytes == (tmp_path / "one.onnx").stat().st_size
    onnx.save(
        model,
        tmp_path / "two.onnx",
        save_as_external_data=True,
        location="w.data",
        size_threshold=0,
    )
    cost = count_cost(tmp_path / "two.onnx")
    files = [tmp_path / "two.onnx", tmp_path / "w.data"]
    assert cost.size_bytes == sum(file.stat().st_size for file in files)
    assert (cost.macs, cost.params) == (4096, 4096)


@pytest.mark.parametrize("content", [b"", b"hello, this is no model" * 9, b"\x08\x09"])
def test_files_that_are_no_models_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(RuntimeFailure, match=r"bad\.onnx") as caught:
        count_cost(path)
    assert "\n" not in str(caught.value)


def test_truncated_missing_and_folder(small_conv, tmp_path):
    content = small_conv.read_bytes()
    small_conv.write_bytes(content[: len(content) // 2])
    with pytest.raises(RuntimeFailure, match="truncated"):
        count_cost(small_conv)
    with pytest.raises(RuntimeFailure, match="no such file"):
        count_cost(tmp_path / "missing.onnx")
    with pytest.raises(RuntimeFailure, match="is a folder"):
        count_cost(tmp_path)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Constant", [], ["y"]),
        helper.make_node("Scan", ["x"], ["y"], body=helper.make_graph([], "b", [], [])),
        helper.make_node("Loop", [], ["y"], body=helper.make_graph([], "b", [], [])),
    ],
)
def test_nodes_without_what_they_need_are_refused_in_one_line(build, node):
    with pytest.raises(RuntimeFailure, match=r"onnx\.checker"):
        count_cost(build([node], {"x": [1, 3]}))


def test_a_counted_operator_without_its_weight_is_named(build):
    cost = count_cost(build([helper.make_node("Conv", ["x"], ["y"])], {"x": [1, 3, 4, 4]}))
    assert "Conv at 'y'" in cost.uncounted[0]
