"""Zeros in files that are taken whole: the right weights, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import compressc
from compressc import Goal
from compressc.contract.context import Context
from compressc.errors import CompresscError, PlanError
from compressc.passes.sparsify import Sparsify
from compressc.whole_files.weights import list_weights
from compressc.whole_files.zeros import check_only_zeros, count_zeros, set_zeros
from tests.onnx_kit import constant, model_of, two_convolutions
from tests.whole_files.odd_files import condition_on_data, words

ALL = Sparsify(0.75, skip_first_last=False)


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {name: numpy_helper.to_array(tensor) for name, tensor in list_weights(model).items()}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_same_weights_as_in_the_converted_network(scope: str) -> None:
    method = Sparsify(0.8, scope=scope, skip_first_last=False)  # type: ignore[arg-type]
    model = two_convolutions()
    program = method(compressc.capture(model), Context(goal=Goal()))
    zeroed = arrays(set_zeros(model, method).model)
    kept = program.plan.zero
    assert kept.keys() == zeroed.keys()
    for name, array in zeroed.items():
        np.testing.assert_array_equal(array != 0, kept[name])


def test_the_smallest_of_each_layer() -> None:
    model = two_convolutions()
    zeroed = set_zeros(model, ALL)
    assert zeroed.check.passed
    before = arrays(model)
    for name, array in arrays(zeroed.model).items():
        assert int((array == 0).sum()) == round(0.75 * array.size)
        stay = array != 0
        np.testing.assert_array_equal(array[stay], before[name][stay])
        assert np.abs(before[name][~stay]).max() <= np.abs(before[name][stay]).min()
    assert count_zeros(zeroed.model) == sum(
        int((a == 0).sum()) for a in arrays(zeroed.model).values()
    )


def test_weights_inside_branches_and_behind_views() -> None:
    assert list(list_weights(condition_on_data())) == [
        *("first.weight", "second.weight", "head.weight", "inside.weight")
    ]
    nodes = [
        helper.make_node("Constant", [], ["w"], "c", value=constant("w", 6, 3)),
        helper.make_node("Transpose", ["w"], ["wt"], "turn"),
        helper.make_node("MatMul", ["x", "wt"], ["h"], "product"),
        helper.make_node("MatMul", ["h", "h2"], ["y"], "again"),
    ]
    model = model_of(nodes, {"x": ["N", 3]}, ["y"], [constant("h2", 6, 2)])
    assert list(list_weights(model)) == ["product.weight", "again.weight"]
    zeroed = set_zeros(model, ALL)
    assert zeroed.check.passed
    assert all(
        (array == 0).mean() == 0.75
        for name, array in arrays(zeroed.model).items()
        if array.size == 12
    )


def test_depthwise_weights_stay() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], "deep", group=4),
        helper.make_node("Conv", ["h", "v"], ["y"], "point"),
    ]
    weights = [constant("w", 4, 1, 3, 3), constant("v", 5, 4, 1, 1)]
    assert list(list_weights(model_of(nodes, {"x": ["N", 4, 8, 8]}, ["y"], weights))) == [
        "point.weight"
    ]


def test_kept_layers_and_misspelt_ones() -> None:
    zeroed = arrays(set_zeros(two_convolutions(), ALL, ["sec*"]).model)
    assert (zeroed["second.weight"] != 0).all()
    assert (zeroed["first.weight"] == 0).any()
    with pytest.raises(CompresscError, match="keep 'thirt': matches no layer"):
        set_zeros(two_convolutions(), ALL, ["thirt"])


def test_the_ends_stay_dense_where_the_pass_says_so() -> None:
    zeroed = set_zeros(two_convolutions(), Sparsify(0.8))
    assert (arrays(zeroed.model)["first.weight"] != 0).all()
    assert zeroed.notes == ("first and head stay dense: first and last",)


def test_no_weights() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, ["y"])
    with pytest.raises(PlanError, match="finds no weight to work on"):
        set_zeros(model, ALL)
    assert list(list_weights(words())) == ["head.weight"]


def _bias(model: onnx.ModelProto) -> None:
    array = numpy_helper.to_array(model.graph.initializer[1]).copy()
    array[0] += 1
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(array, "b1"))


def _survivor(model: onnx.ModelProto) -> None:
    tensor = list_weights(model)["second.weight"]
    array = numpy_helper.to_array(tensor).copy()
    array[array != 0] *= 1.0000002
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute[0].ints[0] = 0


def _removed(model: onnx.ModelProto) -> None:
    tensor = list_weights(model)["second.weight"]
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[np.flatnonzero(array)[0]] = 0
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


@pytest.mark.parametrize("fault", [_bias, _survivor, _attribute, _removed])
def test_planted_faults_are_noticed(fault: Callable[[onnx.ModelProto], None]) -> None:
    model = two_convolutions()
    result = set_zeros(model, ALL).model
    keep = {name: (array != 0).ravel() for name, array in arrays(result).items()}
    assert check_only_zeros(model, result, keep).passed
    fault(result)
    check = check_only_zeros(model, result, keep)
    assert not check.passed
    assert "something else" in check.text
