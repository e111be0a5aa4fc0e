"""ONNX in: what is done to the graph before it is traced: folding, and untying of vectors."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import compressc
from compressc.frontend.onnx_import.folding import fold_constants
from compressc.frontend.onnx_import.graph import Graph, read_graph
from compressc.frontend.onnx_import.reading import versions_of
from compressc.frontend.onnx_import.untying import untie_vectors
from tests.onnx_kit import constant, model_of, run, two_convolutions


def graph_of(model: onnx.ModelProto) -> Graph:
    return read_graph(model.graph, versions_of(model))


def _with_shared_bias() -> onnx.ModelProto:
    """Return two convolutions with one bias of zeros, as exporters merge them."""
    model = two_convolutions()
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    weights["b1"].CopyFrom(numpy_helper.from_array(np.zeros(16, np.float32), "b1"))
    next(node for node in model.graph.node if node.name == "second").input[2] = "b1"
    model.graph.initializer.remove(weights["b2"])
    return model


def test_layers_that_share_a_bias_are_not_coupled_by_it() -> None:
    model = _with_shared_bias()
    program = compressc.capture(model)
    groups = [group for group in compressc.couple(program).groups if group.pinned is None]
    assert [group.size for group in groups] == [16, 16]
    assert {"first.bias", "second.bias"} <= set(program.state())
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    (expected,) = run(model, x)
    (result,) = program.module().eval()(torch.from_numpy(x))
    np.testing.assert_allclose(result.detach().numpy(), expected, atol=1e-5)


def test_matrices_stay_shared() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "words"], ["rows"], "embed"),
        helper.make_node("Gemm", ["rows", "table"], ["y"], "head", transB=1),
    ]
    table = constant("table", 12, 8)
    model = model_of(nodes, {"words": ["N"]}, ["y"], [table], types={"words": TensorProto.INT64})
    graph = graph_of(model)
    assert untie_vectors(graph).constants.keys() == graph.constants.keys()


def test_what_the_definition_fails_on_is_folded_in_the_runtime() -> None:
    # onnx 1.23's own GatherElements does not compute this: fewer indices than elements.
    rows = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(1, 12), "rows")
    places = numpy_helper.from_array(np.array([[3, 1, 11, 0]], np.int64), "places")
    nodes = [
        helper.make_node("GatherElements", ["rows", "places"], ["picked"], "pick", axis=1),
        helper.make_node("Add", ["x", "picked"], ["y"], "add"),
    ]
    model = model_of(nodes, {"x": ["N", 4]}, ["y"], [rows, places])
    folded = fold_constants(graph_of(model))
    assert [node.name for node in folded.nodes] == ["add"]
    np.testing.assert_array_equal(folded.constants["picked"].array, [[3.0, 1.0, 11.0, 0.0]])
