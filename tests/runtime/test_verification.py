"""References: what passes, what must not, and files that are none."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.verification import (
    compare_output,
    make_reference,
    verify,
    write_reference,
)


@pytest.fixture
def reference(small_conv, tmp_path):
    path = tmp_path / "reference.npz"
    write_reference(make_reference(small_conv, batch=2, seed=3), path)
    return path


def scaled(path, factor, to):
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * factor, weight.name))
    onnx.save(model, to)
    return to


def test_the_same_model_passes_at_any_threads(small_conv, reference):
    result = verify(small_conv, reference, threads=2)
    assert result.passed
    assert [output.name for output in result.outputs] == ["y"]
    assert result.outputs[0].shape == (2, 8, 8, 8)
    assert result.machine.cpu_model in result.made_with
    document = json.loads(result.to_json())
    assert document["passed"] is True
    assert document["outputs"][0]["error"] <= document["outputs"][0]["allowed"]


@pytest.mark.parametrize(("factor", "passes"), [(1 + 1e-6, True), (1.001, False), (100.0, False)])
def test_a_planted_change_of_the_weights_is_found(small_conv, reference, tmp_path, factor, passes):
    changed = scaled(small_conv, factor, tmp_path / "changed.onnx")
    result = verify(changed, reference)
    assert result.passed is passes
    assert verify(changed, reference, tolerance=1000.0).passed


def test_an_output_is_judged_by_how_it_varies_not_by_its_size():
    expected = np.array([1000.0, 1000.001], np.float64)
    drift = compare_output("y", expected + [0.0, 0.001], expected, 1e-3)
    assert not drift.passed
    assert drift.scale == pytest.approx(0.0005)
    constant = np.full(4, 5.0)
    assert compare_output("y", constant + 1e-6, constant, 1e-4).passed
    assert not compare_output("y", constant + 1e-3, constant, 1e-4).passed


@pytest.mark.parametrize(
    ("found", "expected", "problem"),
    [
        (np.zeros(3), np.zeros(4), "shape"),
        (np.array([1.0, np.nan]), np.array([1.0, 2.0]), "NaN"),
        (np.array([1.0, 2.0]), np.array([1.0, np.nan]), "NaN"),
        (np.array([1.0, -np.inf]), np.array([1.0, np.inf]), "infinite"),
        (np.array([1, 2]), np.array([1, 3]), "differs"),
        (np.array(["a"], object), np.array(["b"]), "differs"),
    ],
)
def test_what_must_not_pass(found, expected, problem):
    drift = compare_output("y", found, expected, 1.0)
    assert problem in drift.problem


def test_what_must_pass():
    assert compare_output("y", np.array([1, 2]), np.array([1, 2]), 0.0).passed
    infinite = np.array([1.0, np.inf, np.nan])
    assert compare_output("y", infinite, infinite.copy(), 0.0).passed
    assert compare_output("y", np.zeros((0, 3)), np.zeros((0, 3)), 0.0).passed


def test_plain_names_do_and_strings_come_back(build, tmp_path):
    node = helper.make_node("Identity", ["x"], ["y"])
    model = build(
        [node], {"x": ["n"]}, dtypes={"x": TensorProto.STRING}, output_dtype=TensorProto.STRING
    )
    onnx.save(model, tmp_path / "text.onnx")
    np.savez(tmp_path / "plain.npz", x=np.array(["a", "bc"]), y=np.array(["a", "bc"]))
    assert verify(tmp_path / "text.onnx", tmp_path / "plain.npz").passed
    write_reference(make_reference(tmp_path / "text.onnx"), tmp_path / "stored.npz")
    assert verify(tmp_path / "text.onnx", tmp_path / "stored.npz").passed


def test_equal_seeds_give_equal_references_and_real_inputs_are_kept(small_conv):
    first, again, other = (make_reference(small_conv, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["input:x"], other["input:x"])
    given = np.ones((1, 3, 8, 8), np.float32)
    assert np.array_equal(make_reference(small_conv, inputs={"x": given})["input:x"], given)


def test_files_that_are_no_references(small_conv, reference, tmp_path):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(reference.read_bytes()[:-200])
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, **{"input:x": np.array([{}], dtype=object)})
    single = tmp_path / "single.npy"
    np.save(single, np.zeros(3))
    for path in (damaged, pickled, single, small_conv):
        with pytest.raises(RuntimeFailure, match=r"is no \.npz of plain arrays") as caught:
            verify(small_conv, path)
        assert "\n" not in str(caught.value)
    np.savez(tmp_path / "foreign.npz", z=np.zeros(3))
    with pytest.raises(RuntimeFailure, match="lacks input 'x'"):
        verify(small_conv, tmp_path / "foreign.npz")
    np.savez(tmp_path / "half.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(RuntimeFailure, match="none of the outputs"):
        verify(small_conv, tmp_path / "half.npz")
    with pytest.raises(RuntimeFailure, match="tolerance"):
        verify(small_conv, reference, tolerance=-1.0)
    with pytest.raises(RuntimeFailure, match="no such file"):
        verify(small_conv, tmp_path / "missing.npz")
