"""Profiles of real runs: every MAC finds its kernel, fused nodes are told, sums are kept."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.onnx_cost import count_cost
from compressc.runtime.profile_result import Profile
from compressc.runtime.profiled_session import NodeTimes, undisturbed
from compressc.runtime.profiling import profile
from compressc.runtime.roofline import Roofline, measure_clock

ROOFLINE = Roofline(1, 100.0, ((1000, 100.0), (1_000_000, 10.0)), 0.002, 0.0002, 0.005)


@pytest.fixture(autouse=True)
def known_ceilings(monkeypatch):
    monkeypatch.setattr("compressc.runtime.profiling.measure_roofline", lambda threads: ROOFLINE)


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.fixture
def residual(build, tmp_path):
    """Two convolutions with a sum and activations that ONNX Runtime fuses, and a head."""
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c1"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="stem_relu"),
        helper.make_node("Conv", ["r1", "b"], ["c2"], name="body", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["s"], name="sum"),
        helper.make_node("Relu", ["s"], ["r2"], name="sum_relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "h"], ["y"], name="head"),
    ]
    path = tmp_path / "residual.onnx"
    weights = {"a": random(16, 3, 3, 3), "b": random(16, 16, 3, 3), "h": random(16, 10)}
    onnx.save(build(nodes, {"x": ["batch", 3, 12, 12]}, weights), path)
    return path


def test_every_mac_finds_the_kernel_that_does_it(residual):
    result = profile(residual, batch=2, seconds=0.1)
    macs = {layer.layer: layer.macs for layer in result.layers if layer.macs}
    assert macs == {
        "stem": 2 * 16 * 3 * 9 * 144,
        "body": 2 * 16 * 16 * 9 * 144,
        "head": 2 * 160,
    }
    assert result.macs == count_cost(residual, batch=2).macs
    assert result.uncounted == ()
    assert result.input_shapes == {"x": (2, 3, 12, 12)}


def test_what_was_fused_is_told(residual):
    ops = {layer.layer: layer.op for layer in profile(residual, seconds=0.1).layers}
    assert ops["stem"] == "Conv+Relu"
    assert ops["body"] == "Conv+Add+Relu"
    assert not {"sum", "sum_relu", "stem_relu"} & set(ops)


def test_layers_and_runtime_add_up_to_the_call(residual):
    result = profile(residual, seconds=0.1)
    assert result.kernels_ms == pytest.approx(sum(layer.latency_ms for layer in result.layers))
    assert result.kernels_ms + result.overhead_ms == pytest.approx(result.cpu_ms)
    assert sum(layer.share for layer in result.layers) == pytest.approx(1.0)
    assert sum(result.by_op().values()) == pytest.approx(result.kernels_ms)
    assert list(result.by_op().values()) == sorted(result.by_op().values(), reverse=True)
    body = next(layer for layer in result.layers if layer.layer == "body")
    assert body.gflops == pytest.approx(2e-6 * body.macs / body.latency_ms)


def test_bounds_follow_the_ceilings(residual):
    layers = {layer.op: layer for layer in profile(residual, seconds=0.1).layers}
    body, pool = layers["Conv+Add+Relu"], layers["GlobalAveragePool"]
    assert (body.bound, pool.bound) == ("compute", "memory")
    assert body.attainable_ms == pytest.approx(2e-6 * body.macs / 100.0)
    assert pool.moved_bytes == 4 * 16 * 144 + 4 * 16
    assert pool.attainable_ms == pytest.approx(ROOFLINE.memory_ms(pool.moved_bytes))
    assert pool.gflops is None


def test_bandwidth_is_interpolated_over_the_logarithm_of_the_size():
    assert ROOFLINE.bandwidth(10) == 100.0
    assert ROOFLINE.bandwidth(10**9) == 10.0
    assert ROOFLINE.bandwidth(10**4.5) == pytest.approx(55.0)


def test_a_profile_survives_json(residual):
    result = profile(residual, seconds=0.1)
    assert Profile.from_json(result.to_json()) == result
    for text in ("", "{}", "[]", '{"format": "other"}'):
        with pytest.raises(RuntimeFailure, match="not a profile"):
            Profile.from_json(text)


def test_nodes_without_names_are_told_apart(build, tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c1"], ["r1"], name="twice"),
        helper.make_node("Conv", ["r1", "b"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Erf", ["c2"], ["y"], name="twice"),
    ]
    weights = {"a": random(16, 3, 3, 3), "b": random(32, 16, 3, 3)}
    onnx.save(build(nodes, {"x": [1, 3, 8, 8]}, weights), tmp_path / "unnamed.onnx")
    result = profile(tmp_path / "unnamed.onnx", seconds=0.1)
    assert {layer.layer: layer.macs for layer in result.layers if layer.macs} == {
        "c1": 16 * 3 * 9 * 64,
        "c2": 32 * 16 * 9 * 64,
    }
    assert len({layer.kernel for layer in result.layers}) == len(result.layers)


def test_functions_of_the_model_are_looked_into(build, tmp_path):
    body = [helper.make_node("Conv", ["i", "w"], ["o"], pads=[1, 1, 1, 1])]
    opsets = [helper.make_opsetid("", 20)]
    function = helper.make_function("my", "Block", ["i", "w"], ["o"], body, opsets)
    nodes = [
        helper.make_node("Block", ["x", "a"], ["t"], domain="my", name="first"),
        helper.make_node("Block", ["t", "b"], ["y"], domain="my", name="second"),
    ]
    weights = {"a": random(16, 3, 3, 3), "b": random(16, 16, 3, 3)}
    model = build(nodes, {"x": [1, 3, 8, 8]}, weights, functions=[function])
    onnx.save(model, tmp_path / "functions.onnx")
    result = profile(tmp_path / "functions.onnx", seconds=0.1)
    assert sorted(layer.macs for layer in result.layers if layer.macs) == [27648, 147456]
    assert result.uncounted == ()


def test_matrix_products_with_their_additions(build, tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
        helper.make_node("Add", ["m", "b"], ["s"], name="bias"),
        helper.make_node("Relu", ["s"], ["y"], name="relu"),
    ]
    model = build(nodes, {"x": ["n", 32]}, {"w": random(32, 8), "b": random(8)})
    onnx.save(model, tmp_path / "linear.onnx")
    layers = profile(tmp_path / "linear.onnx", batch=4, seconds=0.1).layers
    assert {layer.layer: layer.macs for layer in layers if layer.macs} == {"product": 4 * 256}


def test_bodies_of_control_flow_do_not_break_it(build, tmp_path):
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch, else_branch=branch)
    ]
    model = build(nodes, {"c": [1], "x": [2, 3]}, dtypes={"c": TensorProto.BOOL})
    onnx.save(model, tmp_path / "if.onnx")
    assert any(layer.op == "If" for layer in profile(tmp_path / "if.onnx", seconds=0.1).layers)


def test_undisturbed_times():
    times = np.array([5.0, 1.0, 1.1, 1.2, 1.3, 90.0, 80.0, 70.0, 60.0, 50.0])
    assert undisturbed(times) == pytest.approx(np.mean([1.1, 1.2, 1.3]))
    assert undisturbed(np.array([3.0])) == 3.0
    assert undisturbed(np.zeros(0)) == 0.0
    assert NodeTimes("a", np.array([2.0, 2.0]), ()).typical_ms == 2.0


def test_the_clock_of_the_profiler_is_measured():
    clock_ms, node_ms, call_ms = measure_clock()
    assert 0 < node_ms < 0.1
    assert 0 <= clock_ms < 0.1
    assert 0 <= call_ms < 1


def test_numbers_out_of_range(small_conv):
    with pytest.raises(RuntimeFailure, match="seconds 0"):
        profile(small_conv, seconds=0)
    with pytest.raises(RuntimeFailure, match="threads 0"):
        profile(small_conv, threads=0)
    with pytest.raises(RuntimeFailure, match="no such file"):
        profile(small_conv.parent / "missing.onnx")


def test_ceilings_are_raised_to_what_was_reached():
    slow = Roofline(1, 1.0, ((1000, 1.0), (1_000_000, 0.1)), 0.002, 0.0, 0.005)
    works = [(5_000_000, 1000, 1.0), (0, 500_000, 0.5), (1, 1, 0.0)]
    raised = slow.reaching(works)
    assert raised.peak_gflops == 10.0
    for macs, moved, ms in works[:2]:
        assert max(raised.compute_ms(macs), raised.memory_ms(moved)) <= ms * (1 + 1e-9)
    assert ROOFLINE.reaching([(1000, 1000, 10.0)]) == ROOFLINE


def test_no_layer_runs_above_its_ceiling(residual, monkeypatch):
    slow = Roofline(1, 1e-3, ((1000, 1e-3), (1_000_000, 1e-3)), 0.0, 0.0, 0.0)
    monkeypatch.setattr("compressc.runtime.profiling.measure_roofline", lambda threads: slow)
    result = profile(residual, seconds=0.1)
    assert all(layer.efficiency <= 1 + 1e-9 for layer in result.layers)
    assert any("ceilings are what this file reached" in note for note in result.notes)
