"""MACs against numbers worked out by hand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compressc.runtime.onnx_cost import count_cost


def w(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def macs(model, **options):
    cost = count_cost(model, **options)
    assert cost.uncounted == ()
    return cost.macs


@pytest.mark.parametrize(
    ("weight", "attributes", "expected"),
    [
        # out (8, 8, 8) = 512 elements, 3 * 9 products each
        ((8, 3, 3, 3), {"pads": [1, 1, 1, 1]}, 512 * 27),
        # stride 2 without padding: out (8, 3, 3)
        ((8, 3, 3, 3), {"strides": [2, 2]}, 72 * 27),
        # dilation 2: the kernel spans 5, out (4, 4, 4)
        ((4, 3, 3, 3), {"dilations": [2, 2]}, 64 * 27),
    ],
)
def test_conv(build, weight, attributes, expected):
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    model = build([node], {"x": ["n", 3, 8, 8]}, {"w": w(*weight)})
    assert macs(model) == expected
    assert macs(model, batch=5) == 5 * expected


@pytest.mark.parametrize(("groups", "inner"), [(1, 6), (3, 2), (6, 1)])
def test_grouped_and_depthwise_conv(build, groups, inner):
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=groups, pads=[1, 1, 1, 1])
    model = build([node], {"x": [1, 6, 4, 4]}, {"w": w(6, inner, 3, 3)})
    assert macs(model) == 6 * 16 * inner * 9


def test_conv_in_one_and_three_dimensions(build):
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    assert macs(build([node], {"x": [1, 2, 10]}, {"w": w(4, 2, 3)})) == 4 * 8 * 6
    assert macs(build([node], {"x": [1, 2, 4, 4, 4]}, {"w": w(4, 2, 3, 3, 3)})) == 4 * 8 * 54


@pytest.mark.parametrize(("groups", "out_inner"), [(1, 5), (2, 3)])
def test_transposed_conv(build, groups, out_inner):
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=groups, strides=[2, 2])
    model = build([node], {"x": [1, 4, 6, 6]}, {"w": w(4, out_inner, 3, 3)})
    assert macs(model) == 4 * 36 * out_inner * 9


@pytest.mark.parametrize(
    ("a", "b", "flags"), [((2, 7), (7, 5), {}), ((7, 2), (5, 7), {"transA": 1, "transB": 1})]
)
def test_gemm(build, a, b, flags):
    node = helper.make_node("Gemm", ["x", "w", "c"], ["y"], **flags)
    assert macs(build([node], {"x": a}, {"w": w(*b), "c": w(5)})) == 2 * 5 * 7


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (("n", 7, 4), (4, 6), 7 * 6 * 4),
        ((2, 3, 7, 4), (2, 3, 4, 6), 6 * 7 * 6 * 4),
        ((2, 1, 7, 4), (3, 4, 6), 6 * 7 * 6 * 4),
        ((4,), (4, 6), 24),
        ((4,), (4,), 4),
    ],
)
def test_matmul_of_two_activations(build, a, b, expected):
    node = helper.make_node("MatMul", ["x", "z"], ["y"])
    assert macs(build([node], {"x": a, "z": b})) == expected


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("ij,jk->ik", [(2, 3), (3, 5)], 30),
        ("bhid,bhjd->bhij", [(2, 4, 6, 8), (2, 4, 7, 8)], 2 * 4 * 6 * 7 * 8),
        ("...ij,jk->...ik", [(2, 4, 6, 8), (8, 3)], 8 * 6 * 8 * 3),
        ("ij,jk", [(2, 3), (3, 5)], 30),
        ("i,j->ij", [(4,), (5,)], 0),
        ("ij->i", [(4, 5)], 0),
    ],
)
def test_einsum(build, equation, shapes, expected):
    names = [f"x{i}" for i in range(len(shapes))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    assert macs(build([node], dict(zip(names, shapes, strict=True)))) == expected


@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent(build, op, gates, directions):
    direction = "bidirectional" if directions == 2 else "forward"
    node = helper.make_node(op, ["x", "w", "r"], ["y"], hidden_size=5, direction=direction)
    weights = {"w": w(directions, gates * 5, 3), "r": w(directions, gates * 5, 5)}
    steps, batch = 7, 2
    expected = steps * batch * directions * gates * 5 * (3 + 5)
    assert macs(build([node], {"x": [steps, batch, 3]}, weights)) == expected


def test_quantised_convolution_and_matmul(build):
    scale, zero = np.float32(0.1), np.uint8(0)
    q = {"s": np.array(scale), "z": np.array(zero), "w": w(8, 3, 3, 3, dtype=np.uint8)}
    conv = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"])
    quantised = {"x": TensorProto.UINT8}
    model = build([conv], {"x": [1, 3, 8, 8]}, q, dtypes=quantised, output_dtype=TensorProto.UINT8)
    assert macs(model) == 8 * 36 * 27
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"])
    arguments = {"dtypes": quantised, "output_dtype": TensorProto.INT32}
    assert macs(build([node], {"x": [1, 3, 8, 8]}, {"w": q["w"]}, **arguments)) == 8 * 36 * 27
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    weights = {"w": w(7, 5, dtype=np.uint8)}
    assert macs(build([node], {"x": [2, 7]}, weights, **arguments)) == 2 * 7 * 5


def test_quantise_dequantise_around_a_conv(build):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"]),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["y"], name="conv"),
    ]
    weights = {
        "s": np.array(np.float32(0.1)),
        "z": np.array(np.int8(0)),
        "w": w(8, 3, 3, 3, dtype=np.int8),
        "ws": w(8),
        "wz": w(8, dtype=np.int8),
        "b": w(8, dtype=np.int32),
        "bs": w(8),
    }
    cost = count_cost(build(nodes, {"x": [1, 3, 8, 8]}, weights))
    assert (cost.macs, cost.params) == (8 * 36 * 27, 216 + 8)
    assert {layer.name: layer.params for layer in cost.layers}["conv"] == 224


def test_contrib_operators_take_their_shapes_from_a_run(build):
    """onnx knows no shapes behind com.microsoft operators, so the model is run once."""
    nodes = [
        helper.make_node("FusedConv", ["x", "w"], ["c"], domain="com.microsoft", activation="Relu"),
        helper.make_node("Reshape", ["c", "s"], ["f"]),
        helper.make_node("FusedMatMul", ["f", "v"], ["y"], domain="com.microsoft", transB=1),
    ]
    shape = np.array([0, -1], np.int64)
    model = build(nodes, {"x": ["n", 3, 4, 4]}, {"w": w(2, 3, 3, 3), "s": shape, "v": w(5, 8)})
    assert macs(model, batch=3) == 3 * (8 * 27 + 8 * 5)


def test_contrib_attention_counts_projection_and_both_products(build):
    node = helper.make_node(
        "Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=2
    )
    model = build([node], {"x": [2, 6, 8]}, {"w": w(8, 24), "b": w(24)})
    assert macs(model) == 2 * 6 * 8 * 24 + 2 * 6 * 6 * (8 + 8)


def test_standard_attention(build):
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    inputs = {"q": [2, 4, 5, 8], "k": [2, 2, 7, 8], "v": [2, 2, 7, 6]}
    assert macs(build([node], inputs, opset=23)) == 2 * 4 * 5 * 7 * (8 + 6)


def test_shapes_computed_from_data_are_found_by_running(build):
    """NonZero's count is not in the file; the matrix product behind it still gets counted."""
    nodes = [
        helper.make_node("NonZero", ["w"], ["i"]),
        helper.make_node("Transpose", ["i"], ["t"]),
        helper.make_node("Cast", ["t"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "x"], ["m"]),
        helper.make_node("MatMul", ["m", "v"], ["y"]),
    ]
    ones = np.array([1, 0, 1, 1], np.float32)
    model = build(nodes, {"x": [1, 2]}, {"w": ones, "v": w(2, 5)})
    # Three ones: m is (3, 1) times (1, 2), so (3, 2) by (2, 5).
    assert macs(model) == 3 * 2 * 5


def test_unknown_operators_are_named_not_skipped(build):
    node = helper.make_node("Magic", ["x"], ["y"], domain="my")
    cost = count_cost(build([node], {"x": [1, 2]}))
    assert cost.macs == 0
    assert "my.Magic at 'y'" in cost.uncounted[0]
    assert cost.macs_per_item is None


@pytest.mark.parametrize(
    ("op", "domain"),
    [
        ("DFT", ""),
        ("LinearAttention", ""),
        ("LinearRegressor", "ai.onnx.ml"),
        ("Rfft", "com.microsoft"),
        ("MatMulFpQ4", "com.microsoft"),
        ("NhwcConv", "com.microsoft"),
    ],
)
def test_operators_that_multiply_and_cannot_be_counted_leave_no_number(build, op, domain):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"]),
        helper.make_node(op, ["t"], ["y"], name="opaque", domain=domain),
    ]
    cost = count_cost(build(nodes, {"x": [1, 2]}, {"w": w(2, 2)}))
    name = f"{domain}.{op}" if domain else op
    assert cost.uncounted == (f"the MACs of {name} at 'y' are not counted",)
    assert cost.macs == 4
    assert cost.macs_per_item is None


def test_a_number_for_one_item_is_known_where_everything_is_counted(small_conv):
    assert count_cost(small_conv, batch=3).macs_per_item == 13824


def test_function_bodies_count_once_per_call(build):
    constant = helper.make_node(
        "Constant", [], ["k"], value=onnx.numpy_helper.from_array(w(8, 8), "k")
    )
    body = [constant, helper.make_node("MatMul", ["a", "k"], ["b"], name="mm")]
    function = helper.make_function("my", "Lin", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    calls = [
        helper.make_node("Lin", ["x"], ["t"], domain="my"),
        helper.make_node("Lin", ["t"], ["y"], domain="my"),
    ]
    cost = count_cost(build(calls, {"x": ["n", 8]}, functions=[function]), batch=2)
    assert cost.macs == 2 * (2 * 8 * 8)
    # The weight is stored once, in the function, however often it is called.
    assert cost.params == 64


def test_if_counts_its_costlier_branch_and_loop_its_trips(build):
    def graph(nodes, inputs, output):
        return helper.make_graph(
            nodes, "g", inputs, [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        )

    cheap = graph([helper.make_node("MatMul", ["x", "w"], ["a"])], [], "a")
    dear_nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["b"]),
    ]
    dear = graph(dear_nodes, [], "b")
    node = helper.make_node("If", ["c"], ["y"], then_branch=cheap, else_branch=dear)
    inputs = {"x": [1, 8], "c": []}
    model = build([node], inputs, {"w": w(8, 8)}, dtypes={"c": TensorProto.BOOL})
    assert macs(model) == 2 * 64

    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["s", "w"], ["s2"]),
            helper.make_node("Identity", ["go"], ["go2"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [1, 8]),
        ],
        [
            helper.make_tensor_value_info("go2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s2", TensorProto.FLOAT, [1, 8]),
        ],
    )
    node = helper.make_node("Loop", ["m", "", "x"], ["y"], body=body)
    model = build([node], {"x": [1, 8]}, {"w": w(8, 8), "m": np.array(5, np.int64)})
    assert macs(model) == 5 * 64
