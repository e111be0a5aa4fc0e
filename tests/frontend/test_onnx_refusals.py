"""Bad and hostile ONNX files: one clear line each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import compressc
from compressc.errors import CompresscError, ConversionError, HandOverError
from tests.onnx_kit import constant, model_of, two_convolutions

Refusal = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path) -> Refusal:
    """Return a function that writes a file, loads it, and returns the one line of the answer."""

    def answer(content: Any, error: type[CompresscError] = HandOverError, **options: Any) -> str:
        path = tmp_path / "model.onnx"
        data = content if isinstance(content, bytes) else content.SerializeToString()
        path.write_bytes(data)
        with pytest.raises(error) as refusal:
            compressc.load(path, **options)
        text = str(refusal.value)
        assert text.startswith(f"{path}: ")
        assert "\n" not in text
        assert len(text) < 700
        return text

    return answer


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = two_convolutions()
    change(model)
    return model


def test_truncated(refused: Refusal) -> None:
    data = two_convolutions().SerializeToString()
    assert "truncated or damaged" in refused(data[: len(data) // 2])
    assert "without a network" in refused(data[:2])


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_end_in_one_line(seed: int, tmp_path: Path) -> None:
    data = bytearray(two_convolutions().SerializeToString())
    random = np.random.default_rng(seed)
    # Structure, not weights, which are in the middle.
    for place in random.integers(0, 400, size=4):
        data[place] = random.integers(0, 256)
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(data))
    lines = []
    try:
        compressc.load(path, input_shape=(3, 8, 8))
    except CompresscError as error:
        lines = str(error).splitlines()
    assert len(lines) <= 1


def test_pointer_of_git_lfs(refused: Refusal) -> None:
    assert "git lfs pull" in refused(b"version https://git-lfs.github.com/spec/v1\n")


def _external(location: str, **info: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **info}.items():
            tensor.external_data.add(key=key, value=value)

    return change


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/passwd", "inner/weights.bin", ""])
def test_external_data_elsewhere(place: str, refused: Refusal) -> None:
    assert "not beside the file" in refused(changed(_external(place)))


def test_external_data_missing(refused: Refusal) -> None:
    assert "are missing" in refused(changed(_external("weights.bin")))


def test_external_data_through_a_link(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").symlink_to("/etc/passwd")
    assert "not beside the file" in refused(changed(_external("weights.bin")))


@pytest.mark.parametrize("info", [{"offset": "4096"}, {"length": "99999"}])
def test_external_data_beyond_the_end(
    info: dict[str, str], refused: Refusal, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(64))
    assert "beyond the end" in refused(changed(_external("weights.bin", **info)))


@pytest.mark.parametrize("offset", ["many", "1e9", "-8"])
def test_external_data_at_no_number(offset: str, refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(64))
    assert "malformed" in refused(changed(_external("weights.bin", offset=offset)))


def test_external_data_beside_the_file(tmp_path: Path) -> None:
    model = two_convolutions()
    path = tmp_path / "model.onnx"
    onnx.save(
        two_convolutions(), path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    program = compressc.load(path)
    inside = compressc.capture(model)
    assert program.state().keys() == inside.state().keys()


@pytest.mark.parametrize("size", [2**62, 2**31, 1000])
def test_initializer_larger_than_its_data(size: int, refused: Refusal) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[0] = size

    assert "not as many are stored" in refused(changed(change))


def _resized(name: str, *shape: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.zeros(shape, np.float32), name))

    return change


def test_weights_without_elements(refused: Refusal) -> None:
    text = refused(changed(_resized("w2", 16, 0, 3, 3)), ConversionError)
    assert "node 'second' (Conv) cannot be converted" in text
    assert "does not load" in refused(changed(_resized("w2", 0, 16, 3, 3)))


def test_an_empty_tensor_that_is_joined_changes_nothing() -> None:
    model = two_convolutions()
    empty = numpy_helper.from_array(np.zeros((1, 3, 0, 8), np.float32), "empty")
    join = helper.make_node("Concat", ["image", "empty"], ["whole"], "join", axis=2)
    nodes = [join, *model.graph.node]
    nodes[1].input[0] = "whole"
    constants = [*model.graph.initializer, empty]
    program = compressc.capture(model_of(nodes, {"image": ["N", 3, 8, 8]}, ["scores"], constants))
    assert compressc.couple(program).groups


def test_negative_size(refused: Refusal) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[0] = -16

    assert "negative size" in refused(changed(change))


def test_huge_input(refused: Refusal) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**62

    assert "axis of" in refused(changed(change))


def test_input_of_size_zero_is_any_size(refused: Refusal) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 0

    assert "without a fixed size" in refused(changed(change))


@pytest.mark.parametrize(
    "numbers", [("ConstantOfShape", [2**40]), ("ConstantOfShape", [2**31, 2**31])]
)
def test_constants_of_unreasonable_size(numbers: Any, refused: Refusal) -> None:
    operator, sizes = numbers
    shape = numpy_helper.from_array(np.array(sizes, np.int64), "shape")
    nodes = [
        helper.make_node(operator, ["shape"], ["huge"], "bomb"),
        helper.make_node("ReduceMax", ["huge"], ["m"], "max"),
        helper.make_node("Add", ["x", "m"], ["y"], "add"),
    ]
    text = refused(model_of(nodes, {"x": ["N", 3]}, ["y"], [shape]))
    assert "node 'bomb'" in text
    assert "unreasonable" in text


def test_expanded_twice(refused: Refusal) -> None:
    shape = numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "shape")
    nodes = [
        helper.make_node("Expand", ["w", "shape"], ["huge"], "bomb"),
        helper.make_node("ReduceMax", ["huge"], ["m"], "max"),
        helper.make_node("Add", ["x", "m"], ["y"], "add"),
    ]
    model = model_of(nodes, {"x": ["N", 3]}, ["y"], [constant("w", 1), shape])
    assert "unreasonable" in refused(model)


def _function(name: str, *calls: str) -> onnx.FunctionProto:
    nodes = [helper.make_node(c, [f"v{i}"], [f"v{i + 1}"], domain="f") for i, c in enumerate(calls)]
    return helper.make_function(
        "f", name, ["v0"], [f"v{len(calls)}"], nodes, [helper.make_opsetid("f", 1)]
    )


def _calling(*functions: onnx.FunctionProto) -> onnx.ModelProto:
    node = helper.make_node("A", ["x"], ["y"], "call", domain="f")
    model = model_of([node], {"x": ["N", 3]}, ["y"], domains={"f": 1})
    model.functions.extend(functions)
    return model


def test_cyclic_functions(refused: Refusal) -> None:
    model = _calling(_function("A", "B"), _function("B", "A"))
    assert "calls itself" in refused(model)


def test_functions_that_grow_exponentially(refused: Refusal) -> None:
    names = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    functions = [_function(name, following, following) for name, following in pairwise(names)]
    last = helper.make_function(
        "f",
        "Z",
        ["v0"],
        ["v1"],
        [helper.make_node("Relu", ["v0"], ["v1"])],
        [helper.make_opsetid("", 18)],
    )
    assert "33554432 nodes" in refused(_calling(*functions, last))


def test_functions_are_inlined() -> None:
    function = helper.make_function(
        "f",
        "A",
        ["a"],
        ["b"],
        [helper.make_node("Relu", ["a"], ["b"])],
        [helper.make_opsetid("", 18)],
    )
    program = compressc.capture(_calling(function))
    assert any("relu" in str(node.target) for node in program.graph_module.graph.nodes)


def test_opset_from_the_future(refused: Refusal) -> None:
    assert "operator set 99" in refused(changed(lambda m: _set_opset(m, 99)))


def test_opset_from_the_past(refused: Refusal) -> None:
    assert "older than 7" in refused(changed(lambda m: _set_opset(m, 6)))


def _set_opset(model: onnx.ModelProto, version: int) -> None:
    model.opset_import[0].version = version


def test_ir_version_from_the_future(refused: Refusal) -> None:
    assert "IR version 99" in refused(changed(lambda m: setattr(m, "ir_version", 99)))


def test_two_opsets_of_one_domain(refused: Refusal) -> None:
    model = changed(lambda m: m.opset_import.append(helper.make_opsetid("", 13)))
    assert "two operator sets of the domain 'ai.onnx'" in refused(model)


def test_inputs_without_shapes(refused: Refusal, tmp_path: Path) -> None:
    model = changed(lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"))
    assert "pass --input-shape" in refused(model)
    program = compressc.load(tmp_path / "model.onnx", input_shape=(3, 8, 8))
    assert [tuple(x.shape) for x in program.example_inputs] == [(2, 3, 8, 8)]
    assert "3 sizes" not in refused(model, input_shape=(8,), error=CompresscError)


def test_axes_without_sizes(refused: Refusal, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        for axis, name in ((2, "height"), (3, "width")):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name

    model = changed(change)
    text = refused(model)
    assert "(height, width)" in text
    assert "3,224,224" in text
    program = compressc.load(tmp_path / "model.onnx", input_shape=(3, 8, 8))
    assert dict(program.dynamic_axes[0]) == {0: "N", 2: "height", 3: "width"}


def test_shapes_that_contradict_the_file(refused: Refusal) -> None:
    assert "has 3 elements on axis 1, not 4" in refused(two_convolutions(), input_shape=(4, 8, 8))
    assert "give 3 sizes" in refused(two_convolutions(), input_shape=(8, 8))
    shapes = ((3, 8, 8), (3, 8, 8))
    assert "for 1 inputs (image)" in refused(two_convolutions(), input_shape=shapes)


def test_architecture_beside_it(refused: Refusal) -> None:
    assert "leave out --arch" in refused(two_convolutions(), arch="resnet20")


def test_initializers_that_are_inputs() -> None:
    model = two_convolutions()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    program = compressc.capture(model)
    assert program.input_names == ("image",)
    assert {len(p.shape) for p in program.state().values()} == {1, 2, 4}


def test_quantised_already(refused: Refusal) -> None:
    scale = numpy_helper.from_array(np.float32(0.1), "scale")
    zero = numpy_helper.from_array(np.uint8(3), "zero")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantise"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], "dequantise"),
    ]
    text = refused(model_of(nodes, {"x": ["N", 3]}, ["y"], [scale, zero]), ConversionError)
    assert "quantised already (node 'quantise'" in text


def test_strings_and_sequences(refused: Refusal) -> None:
    node = helper.make_node("Identity", ["x"], ["y"], "same")
    words = {"x": TensorProto.STRING, "y": TensorProto.STRING}
    model = model_of([node], {"x": ["N"]}, ["y"], types=words)
    assert "'x' holds strings" in refused(model, ConversionError)
    split = helper.make_node("SplitToSequence", ["x"], ["y"], "split")
    model = model_of([split], {"x": ["N", 3]}, ["y"])
    model.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    )
    assert "no tensor but a sequence_type" in refused(model, ConversionError)


def test_loops(refused: Refusal) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "v"], ["w"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    count = numpy_helper.from_array(np.array(2**40, np.int64), "count")
    node = helper.make_node("Loop", ["count", "", "x"], ["y"], "forever", body=body)
    text = refused(model_of([node], {"x": ["N", 3]}, ["y"], [count]), ConversionError)
    assert "node 'forever' (Loop)" in text


def test_a_condition_on_the_data(refused: Refusal) -> None:
    text = refused(_with_if("x"), ConversionError)
    assert "node 'choice' (If) whose condition depends on the data" in text


def _with_if(condition: str) -> onnx.ModelProto:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        node = helper.make_node(operator, ["x"], [name])
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([node], name, [], [value])

    two = numpy_helper.from_array(np.array(2, np.int64), "two")
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["data"], to=TensorProto.BOOL),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Size", ["shape"], ["rank"]),
        helper.make_node("Equal", ["rank", "two"], ["fixed"]),
        helper.make_node(
            "If",
            ["data" if condition == "x" else "fixed"],
            ["y"],
            "choice",
            then_branch=branch("yes", "Relu"),
            else_branch=branch("no", "Neg"),
        ),
    ]
    return model_of(nodes, {"x": ["N", 3]}, ["y"], [two])


def test_a_condition_that_is_known_is_resolved() -> None:
    program = compressc.capture(_with_if("shape"))
    called = [str(n.target) for n in program.graph_module.graph.nodes if n.op == "call_function"]
    assert called == ["aten.relu.default"]


def test_custom_domain(refused: Refusal) -> None:
    node = helper.make_node("Magic", ["x"], ["y"], "odd", domain="my.company")
    text = refused(model_of([node], {"x": ["N", 3]}, ["y"], domains={"my.company": 1}))
    assert "Magic" in text
    assert "my.company" in text


def test_random_numbers(refused: Refusal) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["r"], "dice"),
        helper.make_node("Add", ["x", "r"], ["y"], "add"),
    ]
    assert "node 'dice'" in refused(model_of(nodes, {"x": ["N", 3]}, ["y"]), ConversionError)


def test_weights_that_are_not_finite(refused: Refusal) -> None:
    def change(model: onnx.ModelProto) -> None:
        array = numpy_helper.to_array(model.graph.initializer[0]).copy()
        array.reshape(-1)[3] = np.nan
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w1"))

    assert "NaN" in refused(changed(change))


def test_no_inputs(refused: Refusal) -> None:
    node = helper.make_node("Constant", [], ["y"], "c", value=constant("c", 3))
    assert "takes no input" in refused(model_of([node], {}, ["y"]), ConversionError)
