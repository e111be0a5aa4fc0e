"""What becomes a sparse node, what is left, and why."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compressc.errors import ExportError
from compressc.runtime import engine_info
from compressc.runtime.session import create_session
from compressc.sparse_graph.emission import emit_sparse_nodes
from compressc.sparse_graph.fusion import fuse
from compressc.sparse_graph.graph_view import GraphView
from compressc.sparse_graph.plan_numbers import RELU, Activation
from compressc.sparse_graph.regions import find_regions, read_graph

needs_engine = pytest.mark.skipif(
    not engine_info().instruction_sets, reason="no C++ compiler was there at installation"
)
CHANNELS = 4
FLOAT = onnx.TensorProto.FLOAT


def graph_of(
    *nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), **constants
) -> onnx.ModelProto:
    """Return a model on images of 4 x 6 x 6; convolutions read the weights ``w``."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32), **constants}
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", FLOAT, ["n", CHANNELS, 6, 6])],
        [helper.make_tensor_value_info(name, FLOAT, ["n", "c", "h", "w"]) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def conv(source: str, target: str, weight: str = "w", **attributes) -> onnx.NodeProto:
    attributes = {"pads": [1, 1, 1, 1], **attributes}
    return helper.make_node("Conv", [source, weight], [target], name=target, **attributes)


def op(kind: str, inputs: list[str], target: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [target], name=target, **attributes)


def fused(model: onnx.ModelProto) -> list:
    view = GraphView(model)
    (region,) = find_regions(view, read_graph(view)[0])
    return list(fuse(region.readings, region.outputs))


def same(model: onnx.ModelProto) -> None:
    sparse = emit_sparse_nodes(model).model
    onnx.checker.check_model(sparse)
    x = np.random.default_rng(1).standard_normal((3, CHANNELS, 6, 6)).astype(np.float32)
    dense = create_session(model.SerializeToString(), "dense").run(None, {"x": x})
    for use_engine in (False, True):
        session = create_session(sparse.SerializeToString(), "sparse", use_engine=use_engine)
        for a, b in zip(dense, session.run(None, {"x": x}), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_sum_and_activation_leave_with_the_later_convolution() -> None:
    model = graph_of(
        conv("x", "a"),
        op("Relu", ["a"], "b"),
        conv("b", "c"),
        op("Add", ["c", "x"], "d"),
        op("Relu", ["d"], "y"),
    )
    first, second = fused(model)
    assert (first.output, first.residual, first.after) == ("b", "", RELU)
    assert (second.output, second.residual, second.after) == ("y", "x", RELU)
    same(model)


def test_activation_before_a_sum_stays_before_it() -> None:
    model = graph_of(conv("x", "a"), op("Relu", ["a"], "b"), op("Add", ["b", "x"], "y"))
    (only,) = fused(model)
    assert (only.before, only.residual, only.after) == (RELU, "x", Activation())
    same(model)


def test_a_gate_is_one_activation() -> None:
    model = graph_of(conv("x", "a"), op("Sigmoid", ["a"], "g"), op("Mul", ["a", "g"], "y"))
    assert [f.after.kind for f in fused(model)] == [3]
    same(model)


def test_what_is_read_twice_is_stored() -> None:
    model = graph_of(conv("x", "a"), op("Relu", ["a"], "b"), op("Add", ["a", "b"], "y"))
    assert [f.output for f in fused(model)] == ["a", "b", "y"]
    same(model)


def test_an_output_in_the_middle_is_stored() -> None:
    model = graph_of(conv("x", "a"), op("Relu", ["a"], "y"), outputs=("a", "y"))
    assert [f.output for f in fused(model)] == ["a", "y"]
    same(model)


def test_no_way_leads_out_of_a_region_and_back() -> None:
    """One arm of a sum runs in ONNX Runtime: before and after it are two regions."""
    model = graph_of(
        conv("x", "a"),
        op("Tanh", ["a"], "t"),
        conv("a", "b"),
        op("Add", ["b", "t"], "c"),
        conv("c", "y"),
    )
    view = GraphView(model)
    readings, left = read_graph(view)
    assert left == {"t": "the engine has no Tanh"}
    regions = [[r.output for r in region.readings] for region in find_regions(view, readings)]
    assert sorted(regions) == [["a", "b"], ["c", "y"]]
    same(model)


REASONS = [
    (conv("x", "y", auto_pad="SAME_UPPER", pads=None), "size of the image"),
    (op("MaxPool", ["x"], "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), "zeros that count"),
    (op("MaxPool", ["x"], "y", kernel_shape=[2, 2], ceil_mode=1), "rounded up"),
    (op("Add", ["x", "c"], "y"), "different sizes"),
    (op("Mul", ["x", "x"], "y"), "products of two values"),
    (op("Concat", ["x", "x"], "y", axis=2), "does not join channels"),
    (op("Reshape", ["x", "s"], "y"), "rearranges"),
    (op("Softmax", ["x"], "y"), "the engine has no Softmax"),
]


@pytest.mark.parametrize(("node", "reason"), REASONS, ids=[r for _, r in REASONS])
def test_what_is_left_has_a_reason(node: onnx.NodeProto, reason: str) -> None:
    kept = [a for a in node.attribute if a.name != "pads" or a.ints]
    del node.attribute[:]
    node.attribute.extend(kept)
    model = graph_of(
        node, c=np.ones((1, CHANNELS, 1, 1), np.float32), s=np.array([0, 6, CHANNELS, 6])
    )
    (told,) = read_graph(GraphView(model))[1].values()
    assert reason in told
    with pytest.raises(ExportError, match="can run no part"):
        emit_sparse_nodes(model)


def test_weights_that_are_no_numbers_are_left() -> None:
    bad = np.full((CHANNELS, CHANNELS, 3, 3), np.nan, np.float32)
    (reason,) = read_graph(GraphView(graph_of(conv("x", "y", "bad"), bad=bad)))[1].values()
    assert "not finite" in reason


def test_a_file_with_zeros_is_small() -> None:
    weights = np.random.default_rng(0).standard_normal((256, 256, 3, 3)).astype(np.float32)
    weights.ravel()[np.argsort(np.abs(weights).ravel())[: int(weights.size * 0.9)]] = 0
    model = graph_of(
        conv("x", "a", "in"),
        conv("a", "y", "w"),
        w=weights,
        **{"in": np.ones((256, CHANNELS, 3, 3), np.float32)},
    )
    sparse = emit_sparse_nodes(model).model
    assert sparse.ByteSize() < 0.15 * model.ByteSize()


@needs_engine
def test_planted_faults_show() -> None:
    """The engine follows the node's numbers and weights, and a difference in either is seen."""
    model = graph_of(conv("x", "a"), op("Relu", ["a"], "y"))
    x = np.random.default_rng(1).standard_normal((3, CHANNELS, 6, 6)).astype(np.float32)

    def run(sparse: onnx.ModelProto, use_engine: bool) -> np.ndarray:
        session = create_session(sparse.SerializeToString(), "planted", use_engine=use_engine)
        return session.run(None, {"x": x})[0]

    right = run(emit_sparse_nodes(model).model, True)
    unbounded = emit_sparse_nodes(model).model
    # The last operation ends with its activation: 0 is none.
    unbounded.graph.node[0].attribute[0].ints[-3] = 0
    assert np.abs(run(unbounded, False) - right).max() < 1e-4
    assert run(unbounded, True).min() < -0.1
    changed = emit_sparse_nodes(model).model
    (weight,) = changed.graph.initializer
    array = numpy_helper.to_array(weight).copy()
    array.flat[0] += 0.01
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    for use_engine in (False, True):
        assert np.abs(run(changed, use_engine) - right).max() > 1e-3
