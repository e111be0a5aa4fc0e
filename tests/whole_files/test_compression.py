"""Files that are taken whole: zeros, compact storage and int8, each checked in ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressc.errors import DataError, ExportError, VerificationError
from compressc.passes.sparsify import Sparsify
from compressc.runtime.errors import RuntimeFailure
from compressc.settings import Int8, Settings
from compressc.verdict import Check
from compressc.whole_files import compression
from compressc.whole_files.compression import FileResult, compress_file
from compressc.whole_files.job import FileJob
from compressc.whole_files.preparation import in_opset, with_weights_on_top
from compressc.whole_files.seeding import with_seeds
from tests.onnx_kit import constant, model_of, run, two_convolutions
from tests.whole_files.odd_files import IMAGE, ODD, words

UNMEASURED = Settings(measure=False)


def job_of(model: onnx.ModelProto, *passes: Sparsify, settings: Settings = UNMEASURED) -> FileJob:
    return FileJob(model, "odd", "cannot be converted", passes, settings=settings)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *IMAGE)).astype(np.float32)


def calibrated(path: Path, **arrays: np.ndarray) -> Settings:
    np.savez(path / "samples.npz", **arrays)
    return Settings(measure=False, int8=Int8(path / "samples.npz", force=True))


def names_of(result: FileResult) -> list[str]:
    return [check.name for check in result.report.verdict.checks]


@pytest.mark.parametrize("kind", ODD)
def test_zeros_of_every_kind(kind: str) -> None:
    model = ODD[kind]()
    before = model.SerializeToString()
    result = compress_file(job_of(model, Sparsify(0.8)))
    assert names_of(result) == ["file == original but for zeros"]
    assert model.SerializeToString() == before, "the given model is left as it is"
    run(result.onnx, images(3))
    report = result.report
    assert report.after.zeros > 1000 > report.before.zeros
    assert report.after.macs == report.before.macs > 0
    assert report.accuracy is not None
    assert report.accuracy.text.startswith("not measured")
    said = {entry.key: entry.value for entry in result.onnx.metadata_props}
    assert said["compressc.taken_whole"] == "cannot be converted"
    assert "file == original" in said["compressc.verified"]


@pytest.mark.parametrize("kind", ODD)
def test_compact_storage_of_every_kind(kind: str) -> None:
    job = job_of(ODD[kind](), Sparsify(0.9), settings=Settings("compact", measure=False))
    result = compress_file(job)
    assert "compact == plain in ONNX Runtime" in names_of(result)
    plain = compress_file(job_of(ODD[kind](), Sparsify(0.9))).onnx
    assert result.onnx.ByteSize() < 0.8 * plain.ByteSize()
    if kind != "random":
        for packed, dense in zip(run(result.onnx, images(3)), run(plain, images(3)), strict=True):
            np.testing.assert_allclose(packed, dense, atol=1e-5)


@pytest.mark.parametrize("kind", ODD)
def test_int8_of_every_kind(kind: str, tmp_path: Path) -> None:
    job = job_of(ODD[kind](), settings=calibrated(tmp_path, x=images(48)))
    result = compress_file(job)
    assert names_of(result) == ["int8 ~ float32"]
    assert any(node.op_type == "DequantizeLinear" for node in result.onnx.graph.node)
    assert not any(a.name == "seed" for node in result.onnx.graph.node for a in node.attribute)
    run(result.onnx, images(3))
    assert result.report.int8 is not None
    assert result.report.int8.quantized_nodes > 1


def test_int8_of_words(tmp_path: Path) -> None:
    settings = calibrated(tmp_path, words=np.array([*"abcabcab"] * 8))
    result = compress_file(job_of(words(), settings=settings))
    assert names_of(result) == ["int8 ~ float32"]
    (scores,) = run(result.onnx, np.array(["a", "c"], dtype=object))
    (expected,) = run(words(), np.array(["a", "c"], dtype=object))
    np.testing.assert_allclose(scores, expected, atol=0.02)
    # A wrong word would be seen: the two rows are far apart.
    assert np.abs(expected[0] - expected[1]).max() > 0.4


def test_random_numbers_are_drawn_alike_while_files_are_compared() -> None:
    seeded, names = with_seeds(ODD["random"]())
    assert names == {"noise"}
    (first,), (second,) = run(seeded, images(2)), run(seeded, images(2))
    np.testing.assert_array_equal(first, second)


def test_zeros_then_int8_and_timing(tmp_path: Path) -> None:
    settings = calibrated(tmp_path, x=images(48))
    settings = Settings(seconds=0.2, int8=settings.int8)
    result = compress_file(job_of(ODD["loop"](), Sparsify(0.3), settings=settings))
    assert names_of(result) == ["file == original but for zeros", "int8 ~ float32"]
    assert result.report.bench is not None
    paths = [measured.path for measured in result.report.bench.measurements]
    assert paths == ["original.onnx", "compressed.onnx", "compressed_float32.onnx"]
    path = result.export(tmp_path / "small.onnx")
    assert onnx.load(path).graph.node


def test_runs_where_a_first_axis_is_no_batch(tmp_path: Path) -> None:
    model = two_convolutions(batch=1)
    settings = calibrated(tmp_path, x=images(40)[:, None])
    result = compress_file(job_of(model, settings=settings))
    assert result.report.int8 is not None
    assert result.report.int8.calibration_samples == 32


def test_samples_that_do_not_fit(tmp_path: Path) -> None:
    settings = calibrated(tmp_path, x=images(40)[:, :, :4])
    with pytest.raises(DataError, match=r"image has shape \(40, 3, 4, 8\)"):
        compress_file(job_of(ODD["loop"](), settings=settings))


def test_a_compact_file_that_computes_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[object]]:
        wrong = two_convolutions(middle="Sigmoid")
        wrong.graph.output[0].name = wrong.graph.node[-1].output[0] = model.graph.output[0].name
        return wrong, []

    monkeypatch.setattr(compression, "compact", broken)
    job = job_of(two_convolutions(), Sparsify(0.9), settings=Settings("compact", measure=False))
    with pytest.raises(VerificationError, match="compact == plain in ONNX Runtime does not hold"):
        compress_file(job)


def test_an_operator_set_that_cannot_be_reached() -> None:
    model = two_convolutions()
    model.opset_import[0].version = 7
    model.graph.node[1].op_type = "Magic"
    with pytest.raises(ExportError, match="--int8 needs operator set 13"):
        in_opset(model, 13, "--int8")


def test_the_verdict_keeps_numbers() -> None:
    result = compress_file(job_of(two_convolutions(), Sparsify(0.5)))
    check: Check = result.report.verdict.checks[0]
    assert check.numbers == {"zeros": 1152, "weights": 2304}


def test_weights_inside_branches_are_stored_compactly(tmp_path: Path) -> None:
    model = ODD["condition"]()
    branch = _attribute(model.graph.node[-1], "then_branch")
    large = numpy_helper.from_array(np.ones((4, 4), np.float32).repeat(300, 0), "w5")
    branch.initializer[0].CopyFrom(large)
    branch.node[0].output[0] = "long"
    branch.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    branch.node.append(helper.make_node("ReduceMax", ["long", "axes"], ["a"]))
    before = run(model, images(3))
    lifted = with_weights_on_top(model)
    left = _attribute(lifted.graph.node[-1], "then_branch").initializer
    assert [tensor.name for tensor in left] == ["axes"]
    for result, expected in zip(run(lifted, images(3)), before, strict=True):
        np.testing.assert_array_equal(result, expected)
    job = job_of(model, Sparsify(0.9), settings=Settings("compact", measure=False))
    assert compress_file(job).onnx.ByteSize() < 0.5 * model.ByteSize()


def test_int8_says_where_the_quantiser_does_not_go(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["positive"], to=TensorProto.BOOL),
        helper.make_node(
            "If",
            ["positive"],
            ["y"],
            "choice",
            then_branch=_branch("a", helper.make_node("Conv", ["image", "w"], ["a"], "inside")),
            else_branch=_branch("b", helper.make_node("Neg", ["image"], ["b"], "negative")),
        ),
    ]
    _attribute(nodes[-1], "then_branch").initializer.append(constant("w", 3, 3, 1, 1))
    model = model_of(nodes, {"image": ["N", *IMAGE]}, ["y"])
    with pytest.raises(ExportError, match="no layer with weights stands outside of If and Loop"):
        compress_file(job_of(model, settings=calibrated(tmp_path, x=images(48))))


def _attribute(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    return next(a.g for a in node.attribute if a.name == name)


def _branch(name: str, node: onnx.NodeProto) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph([node], f"{name}_branch", [], [value])


def test_real_inputs_are_compared_on_where_they_are_given(tmp_path: Path) -> None:
    settings = calibrated(tmp_path, x=images(40))
    job = job_of(ODD["loop"](), Sparsify(0.3))
    accuracy = compress_file(replace(job, samples=tmp_path / "samples.npz")).report.accuracy
    assert accuracy is not None
    assert accuracy.inputs_from == f"samples of {tmp_path / 'samples.npz'}"
    # And int8 is calibrated on them where nothing else is said.
    asked = replace(settings, int8=Int8(force=True))
    result = compress_file(replace(job, settings=asked, samples=tmp_path / "samples.npz"))
    assert result.report.int8 is not None
    assert result.report.int8.source == str(tmp_path / "samples.npz")


def test_a_file_that_does_not_run_on_made_up_inputs() -> None:
    # A made-up number is 1, and the table has one row.
    nodes = [
        helper.make_node("Gather", ["table", "row"], ["r"], "look_up"),
        helper.make_node("MatMul", ["r", "w"], ["y"], "product"),
    ]
    weights = [constant("table", 1, 7), constant("w", 7, 3)]
    types = {"row": TensorProto.INT64}
    model = model_of(nodes, {"row": [1]}, ["y"], weights, types=types)
    accuracy = compress_file(job_of(model, Sparsify(0.5))).report.accuracy
    assert accuracy is not None
    assert "or give inputs that it runs on: --data FILE.npz" in accuracy.text
    # What is judged by outputs is not done without.
    job = job_of(model, Sparsify(0.5), settings=Settings("compact", measure=False))
    with pytest.raises(RuntimeFailure, match=r"or give inputs that it runs on: --data FILE\.npz"):
        compress_file(job)


def test_inputs_that_cannot_be_made_up() -> None:
    nodes = [
        helper.make_node("ConcatFromSequence", ["parts"], ["x"], "join", axis=0),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    model = model_of(nodes, {}, ["y"], [constant("w", 7, 4)])
    model.graph.input.append(
        helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    )
    result = compress_file(job_of(model, Sparsify(0.5), settings=Settings()))
    assert result.report.after.zeros == 14
    assert result.report.bench is None
    assert result.report.accuracy is not None
    assert "of type seq(tensor(float))" in result.report.accuracy.text
