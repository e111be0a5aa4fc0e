"""ONNX in: round trips of networks, names, axes; planted faults are noticed and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import compressc
from compressc import Goal
from compressc.backend.onnx_export import export_onnx
from compressc.errors import CaptureError, ConversionError, HandOverError
from compressc.frontend.onnx_import.registry import OPERATORS
from compressc.models.registry import architectures, build
from compressc.settings import Settings
from tests.onnx_kit import constant, export, model_of, run, two_convolutions

EXPORTERS = ("older", "dynamo")


def _settled(name: str) -> nn.Module:
    """Return a network whose batch norms do something, seeded."""
    torch.manual_seed(0)
    module = build(name)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return module.eval()


def _attention() -> nn.Module:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(32)
            self.qkv = nn.Linear(32, 96)
            self.out = nn.Linear(32, 32)
            self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 5)

        def forward(self, x: Tensor) -> Tensor:
            batch, tokens, _ = x.shape
            q, k, v = self.qkv(self.norm(x)).reshape(batch, tokens, 3, 4, 8).permute(2, 0, 3, 1, 4)
            mixed = ((q @ k.transpose(-1, -2)) * 0.35).softmax(-1) @ v
            x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, 32))
            return self.down(nn.functional.gelu(self.up(x))).mean(1)

    torch.manual_seed(0)
    return Block().eval()


SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet5": (lambda: _settled("lenet5"), (1, 28, 28)),
    "digits_resnet": (lambda: _settled("digits_resnet"), (1, 8, 8)),
    "resnet20": (lambda: _settled("resnet20"), (3, 32, 32)),
    "se_resnet20": (lambda: _settled("se_resnet20"), (3, 32, 32)),
    "attention": (_attention, (7, 32)),
}


@pytest.mark.slow
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", SMALL)
def test_round_trip_at_half_the_macs(name: str, exporter: str) -> None:
    make, shape = SMALL[name]
    module, x = make(), torch.randn(2, *shape)
    original = compressc.capture(module, (x,))
    model = export(module, (x,), exporter)
    program = compressc.capture(model)
    assert compressc.cost_of(program).macs == compressc.cost_of(original).macs
    with torch.no_grad():
        torch.testing.assert_close(program.module().eval()(x)[0], module(x), rtol=1e-4, atol=1e-4)
    result = compressc.compress(
        program,
        goal=Goal(macs=0.5),
        passes=["magnitude"],
        multiple_of=1,
        settings=Settings(measure=False),
    )
    assert all(check.passed for check in result.report.verdict.checks)
    assert compressc.cost_of(result.program).macs <= 0.5 * compressc.cost_of(program).macs
    assert [value.name for value in result.onnx.graph.input] == ["in0"]
    assert [value.name for value in result.onnx.graph.output] == ["out"]
    for batch in (1, 3):
        (output,) = run(result.onnx, np.zeros((batch, *shape), np.float32))
        assert output.shape[0] == batch


def test_nodes_and_axes_keep_their_names() -> None:
    model = two_convolutions()
    again = export_onnx(compressc.capture(model))
    assert [node.name for node in again.graph.node][:5] == [n.name for n in model.graph.node][:5]
    assert again.graph.node[-1].name == "head"
    assert again.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert [value.name for value in again.graph.output] == ["scores"]
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(again, x)[0], run(model, x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_parameters_are_called_as_in_pytorch(exporter: str) -> None:
    module = _settled("lenet5")
    model = export(module, (torch.randn(2, 1, 28, 28),), exporter)
    program = compressc.capture(model)
    assert set(program.state()) == set(dict(module.named_parameters()))
    assert sum(p.numel() for p in program.module().parameters()) == architectures()["lenet5"].params


def test_an_imported_network_goes_on_in_pytorch(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = two_convolutions()
    model.graph.node[0].name = "/features/0:first;conv"
    onnx.save(model, path)
    program = compressc.load(path)
    assert program.history[0].name == "load"
    compressc.save(program, tmp_path / "model.pt2")
    again = compressc.load(tmp_path / "model.pt2")
    x = torch.randn(3, 3, 8, 8)
    plain = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        expected = program.module().eval()(x)[0]
        torch.testing.assert_close(again.module().eval()(x)[0], expected)
        torch.testing.assert_close(plain(x)[0], expected)
    network = program.module().train()
    network(x)[0].sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    # Names stay through the archive, too.
    assert export_onnx(again).graph.node[0].name == "/features/0_first_conv"


def test_the_shape_chains_of_exporters_become_plain_views() -> None:
    weight = constant("w", 16, 12)
    zero, one = (numpy_helper.from_array(np.array([n], np.int64), f"n{n}") for n in (0, 1))
    minus = numpy_helper.from_array(np.array([-1], np.int64), "minus")
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "n0"], ["batch"]),
        helper.make_node("Mul", ["batch", "n1"], ["same"]),
        helper.make_node("Concat", ["same", "minus"], ["flat"], axis=0),
        helper.make_node("Reshape", ["x", "flat"], ["f"], "view"),
        helper.make_node("MatMul", ["f", "w"], ["y"], "fc"),
    ]
    model = model_of(nodes, {"x": ["N", 4, 4]}, ["y"], [weight, zero, one, minus])
    program = compressc.capture(model)
    called = [str(n.target) for n in program.graph_module.graph.nodes if n.op == "call_function"]
    assert called == ["aten.sym_size.int", "aten.reshape.default", "aten.linear.default"]
    assert dict(program.dynamic_axes[0]) == {0: "N"}


@pytest.mark.parametrize("whole", [True, False])
def test_a_fixed_batch_is_freed_where_that_is_the_same_network(whole: bool) -> None:
    sizes = [1, -1] if whole else [2, -1]
    shape = numpy_helper.from_array(np.array(sizes, np.int64), "shape")
    rows = 1 if whole else 2
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["f"], "view"),
        helper.make_node("MatMul", ["f", "w"], ["y"], "fc"),
    ]
    weight = constant("w", 16 // rows, 5)
    model = model_of(nodes, {"x": [1, 4, 4]}, ["y"], [shape, weight])
    program = compressc.capture(model)
    notes = " ".join(note for line in program.history for note in line.notes)
    assert bool(program.dynamic_axes[0]) is whole
    assert ("batch is fixed" in notes) is whole


def test_indices_fit_the_table_that_they_read() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embedding"),
        helper.make_node("ReduceMean", ["e"], ["m"], "mean", axes=[1], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["y"], "fc"),
    ]
    weights = [constant("table", 11, 8), constant("w", 8, 3)]
    kinds = {"ids": onnx.TensorProto.INT64}
    model = model_of(nodes, {"ids": ["N", 5]}, ["y"], weights, opset=13, types=kinds)
    program = compressc.capture(model)
    assert 2 < int(program.example_inputs[0].max()) < 11


# A fault in one operator, and the node that has to be named for it.
FAULTS = {
    "Conv": ("first", lambda call: OLD["Conv"](call) * 1.001),
    "Relu": ("middle", lambda call: torch.nn.functional.leaky_relu(call.tensor(0), 0.01)),
    "GlobalAveragePool": ("pool", lambda call: call.tensor(0).amax((2, 3), keepdim=True)),
    "Flatten": ("flat", lambda call: torch.flatten(call.tensor(0), 1).flip(1)),
}
OLD = dict(OPERATORS)


@pytest.mark.parametrize("operator", FAULTS)
def test_planted_faults_are_named(operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compressc.capture(two_convolutions())
    OLD.update(OPERATORS)
    node, wrong = FAULTS[operator]
    monkeypatch.setitem(OPERATORS, operator, wrong)
    with pytest.raises(ConversionError, match=rf"first node that differs is node '{node}'"):
        compressc.capture(two_convolutions())


def test_a_planted_epsilon_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = export(_settled("digits_resnet"), (torch.randn(2, 1, 8, 8),), "dynamo")
    compressc.capture(model)
    right = OPERATORS["ReduceMean"]
    monkeypatch.setitem(OPERATORS, "ReduceMean", lambda call: right(call) * (1 + 1e-3))
    with pytest.raises(ConversionError, match="ReduceMean"):
        compressc.capture(model)


def test_job_and_module_arguments() -> None:
    result = compressc.compress(
        two_convolutions(),
        goal=Goal(macs=0.6),
        passes=["magnitude"],
        multiple_of=1,
        settings=Settings(measure=False),
    )
    assert all(check.passed for check in result.report.verdict.checks)
    with pytest.raises(HandOverError, match="needs example inputs"):
        compressc.capture(nn.Linear(3, 3))


def _with_kept_node() -> onnx.ModelProto:
    model = two_convolutions()
    node = model.graph.node[3]
    node.op_type, node.domain, node.name = "QuickGelu", "com.microsoft", "odd"
    node.attribute.append(helper.make_attribute("alpha", 1.7))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def test_a_node_without_counterpart_is_kept() -> None:
    program = compressc.capture(_with_kept_node())
    coupling = compressc.couple(program)
    pinned = {g.pinned for g in coupling.groups if g.pinned is not None}
    assert any("QuickGelu of com.microsoft, which is kept" in reason for reason in pinned)
    assert any(group.pinned is None for group in coupling.groups)
    result = compressc.compress(
        program,
        goal=Goal(macs=0.7),
        passes=["magnitude"],
        multiple_of=1,
        settings=Settings(measure=False),
    )
    assert all(check.passed for check in result.report.verdict.checks)
    kept = next(node for node in result.onnx.graph.node if node.domain == "com.microsoft")
    assert (kept.op_type, kept.name) == ("QuickGelu", "odd")
    assert kept.attribute[0].f == pytest.approx(1.7)
    assert run(result.onnx, np.zeros((3, 3, 8, 8), np.float32))[0].shape == (3, 4)


def test_kept_nodes_are_not_for_pt2(tmp_path: Path) -> None:
    program = compressc.capture(_with_kept_node())
    with pytest.raises(CaptureError, match=r"QuickGelu of com\.microsoft"):
        compressc.save(program, tmp_path / "model.pt2")


def test_a_kept_node_whose_size_depends_on_the_data_is_refused() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"], "positions"),
        helper.make_node("ReduceSum", ["places"], ["y"], "sum", keepdims=0),
    ]
    model = model_of(nodes, {"x": ["N", 3]}, ["y"], types={"y": onnx.TensorProto.INT64})
    with pytest.raises(CaptureError, match=r"node 'positions' \(NonZero\)"):
        compressc.capture(model)


def _in_type(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """Return the model with weights, inputs and outputs of another floating type."""
    for tensor in model.graph.initializer:
        array = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        dtype = torch.float16 if kind == onnx.TensorProto.FLOAT16 else torch.bfloat16
        raw = array.to(dtype).view(torch.int16).numpy().tobytes()
        tensor.CopyFrom(helper.make_tensor(tensor.name, kind, array.shape, raw, raw=True))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = kind
    return model


def test_half_precision_files_are_compressed_in_float32() -> None:
    model = _in_type(two_convolutions(), onnx.TensorProto.FLOAT16)
    result = compressc.compress(
        model,
        goal=Goal(macs=0.6),
        passes=["magnitude"],
        multiple_of=1,
        settings=Settings(measure=False),
    )
    assert all(check.passed for check in result.report.verdict.checks)
    assert result.onnx.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_bfloat16_is_refused_where_the_runtime_cannot_run_it() -> None:
    with pytest.raises(HandOverError, match="bfloat16"):
        compressc.capture(_in_type(two_convolutions(), onnx.TensorProto.BFLOAT16))
