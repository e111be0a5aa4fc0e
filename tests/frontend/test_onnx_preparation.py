"""ONNX in: what is done to the graph before it is traced: folding, and untying of vectors."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import compressc
from compressc.frontend.onnx_import.folding import fold_constants
from compressc.frontend.onnx_import.graph import Graph, read_graph
from compressc.frontend.onnx_import.reading import versions_of
from compressc.frontend.onnx_import.untying import untie_vectors
from tests.onnx_kit import constant, export, model_of, run, two_convolutions


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


def _with_weights_in_nodes(*kept: str) -> onnx.ModelProto:
    """Return the two convolutions with their weights in Constant nodes, as Paddle writes them."""
    model = two_convolutions()
    for tensor in [t for t in model.graph.initializer if t.name not in kept]:
        node = helper.make_node("Constant", [], [tensor.name], f"hold_{tensor.name}", value=tensor)
        model.graph.node.insert(0, node)
        model.graph.initializer.remove(tensor)
    return model


def test_weights_that_stand_in_nodes_are_parameters() -> None:
    program = compressc.capture(_with_weights_in_nodes())
    shapes = sorted(tuple(p.shape) for p in program.graph_module.parameters())
    assert shapes == [(4,), (4, 16), (16,), (16,), (16, 3, 3, 3), (16, 16, 3, 3)]
    assert compressc.couple(program).cost(compressc.Plan()).params == 2836


def test_constants_beside_initializers_are_none() -> None:
    program = compressc.capture(_with_weights_in_nodes("w1", "w2", "w3", "b1", "b2"))
    assert not any(p.shape == (4,) for p in program.graph_module.parameters())
    assert any(b.shape == (4,) for b in program.graph_module.buffers())


def test_an_axis_that_the_network_needs_as_it_is_does_not_vary() -> None:
    # A height of 8 is pooled to 1 and dropped, as a recogniser of lines does; any width will do.
    model = two_convolutions()
    nodes = [node for node in model.graph.node if node.name not in ("pool", "flat")]
    axes = numpy_helper.from_array(np.array([2], np.int64), "axes")
    places = [
        helper.make_node("MaxPool", ["r2"], ["p"], "rows", kernel_shape=[8, 1], strides=[8, 1]),
        helper.make_node("Squeeze", ["p", "axes"], ["s"], "drop"),
        helper.make_node("ReduceMean", ["s"], ["f"], "mean", axes=[2], keepdims=0),
    ]
    graph = [*nodes[:-1], *places, nodes[-1]]
    constants = [*model.graph.initializer, axes]
    model = model_of(graph, {"image": ["N", 3, "height", "width"]}, ["scores"], constants, opset=13)
    program = compressc.capture(model, (torch.zeros(2, 3, 8, 24),))
    assert [dict(axes) for axes in program.dynamic_axes] == [{0: "N", 3: "width"}]
    notes = [note for line in program.history for note in line.notes]
    assert any(note.startswith("the size of 'height' is fixed: twice of it") for note in notes)
    for width in (8, 40):
        x = np.random.default_rng(width).standard_normal((3, 3, 8, width)).astype(np.float32)
        (result,) = program.module().eval()(torch.from_numpy(x))
        np.testing.assert_allclose(result.detach().numpy(), run(model, x)[0], atol=1e-5)


class _Enlarging(torch.nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.up = torch.nn.Upsample(scale_factor=2, mode=mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = self.conv(torch.nn.functional.max_pool2d(x, 4))
        return torch.nn.functional.interpolate(self.up(small), size=x.shape[2:], mode=self.up.mode)


@pytest.mark.parametrize("exporter", ["older", "dynamo"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_the_batch_varies_through_resizing(mode: str, exporter: str) -> None:
    torch.manual_seed(0)
    model = export(_Enlarging(mode), (torch.randn(2, 3, 16, 16),), exporter)
    program = compressc.capture(model)
    assert [dict(axes) for axes in program.dynamic_axes] == [{0: "batch"}]
    x = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    (result,) = program.module().eval()(torch.from_numpy(x))
    np.testing.assert_allclose(result.detach().numpy(), run(model, x)[0], atol=1e-5)


def _with_choices(*taken: bool) -> onnx.ModelProto:
    """Return layers one behind the other, each inside an If with a condition that is stored.

    The graphs inside use the same names, as exporters' do.
    """
    nodes: list[onnx.NodeProto] = []
    stored: list[onnx.TensorProto] = []
    for index, condition in enumerate(taken):
        graphs = []
        for seed, sign in enumerate(("yes", "no")):
            inner = [
                helper.make_node("Neg", ["n"], ["b"], f"turn_{sign}{index}"),
                helper.make_node(
                    "Gemm", [f"x{index}", "w", "b"], ["h"], f"{sign}{index}", transB=1
                ),
                helper.make_node("Relu", ["h"], ["r"], f"relu_{sign}{index}"),
            ]
            value = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
            weights = [constant("w", 6, 6, seed=2 * index + seed), constant("n", 6, seed=seed)]
            graphs.append(helper.make_graph(inner, sign, [], [value], weights))
        stored.append(numpy_helper.from_array(np.array(condition), f"c{index}"))
        nodes.append(
            helper.make_node(
                "If",
                [f"c{index}"],
                [f"x{index + 1}"],
                f"choice{index}",
                then_branch=graphs[0],
                else_branch=graphs[1],
            )
        )
    return model_of(nodes, {"x0": ["N", 6]}, [f"x{len(taken)}"], stored)


def test_a_branch_that_is_always_taken_stands_in_the_graph_with_its_weights() -> None:
    model = _with_choices(True, False, True)
    program = compressc.capture(model)
    parameters = dict(program.graph_module.named_parameters())
    assert sorted(tuple(p.shape) for p in parameters.values()) == [(6,)] * 3 + [(6, 6)] * 3
    assert {name.partition(".")[0] for name in parameters} == {"yes0", "no1", "yes2"}
    assert [g.size for g in compressc.couple(program).groups if g.pinned is None] == [6, 6]
    x = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    (result,) = program.module().eval()(torch.from_numpy(x))
    np.testing.assert_allclose(result.detach().numpy(), run(model, x)[0], atol=1e-6)
    assert program.output_names == ("x3",)


def test_a_state_with_layers_in_front_has_its_batch_behind_them() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["state", "first"], ["s"], "layers", keepdims=0),
        helper.make_node("Add", ["x", "s"], ["a"], "add"),
        helper.make_node("Gemm", ["a", "w", "b"], ["y"], "head", transB=1),
    ]
    first = numpy_helper.from_array(np.array([0], np.int64), "first")
    weights = [constant("w", 4, 6), constant("b", 4), first]
    model = model_of(nodes, {"x": [None, 6], "state": [2, None, 6]}, ["y"], weights)
    program = compressc.capture(model)
    assert [dict(axes) for axes in program.dynamic_axes] == [{0: "batch"}, {1: "batch"}]
    assert [tuple(x.shape) for x in program.example_inputs] == [(2, 6), (2, 2, 6)]
