"""Small ONNX files that ONNX Runtime runs and that cannot be converted, one of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_kit import constant, model_of, two_convolutions

# Shape of one sample of the input "image".
IMAGE = (3, 8, 8)


def _behind(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto] = (),
    output_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """Return the two convolutions with nodes behind them, from "logits" to "y"."""
    model = two_convolutions()
    model.graph.node[-1].output[0] = "logits"
    return model_of(
        [*model.graph.node, *nodes],
        {"image": ["N", *IMAGE]},
        ["y"],
        [*model.graph.initializer, *constants],
        types={"y": output_type},
    )


def _graph(name: str, node: onnx.NodeProto) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
    return helper.make_graph([node], name, [], [value])


def condition_on_data() -> onnx.ModelProto:
    """Return a file with If on the data; a branch holds a weight of its own."""
    inner = _graph("yes", helper.make_node("Gemm", ["logits", "w5"], ["a"], "inside", transB=1))
    inner.initializer.append(constant("w5", 4, 4, seed=9))
    nodes = [
        helper.make_node("ReduceMax", ["logits"], ["most"], "most", keepdims=0),
        helper.make_node("Cast", ["most"], ["positive"], "positive", to=TensorProto.BOOL),
        helper.make_node(
            "If",
            ["positive"],
            ["y"],
            "choice",
            then_branch=inner,
            else_branch=_graph("no", helper.make_node("Neg", ["logits"], ["b"], "negative")),
        ),
    ]
    return _behind(nodes)


def loop() -> onnx.ModelProto:
    """Return a file that doubles its logits twice, in a loop."""
    values = {"i": TensorProto.INT64, "go": TensorProto.BOOL}
    scalars = [helper.make_tensor_value_info(name, kind, []) for name, kind in values.items()]
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "v"], ["w"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [*scalars, helper.make_tensor_value_info("v", TensorProto.FLOAT, None)],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    count = numpy_helper.from_array(np.array(2, np.int64), "count")
    return _behind(
        [helper.make_node("Loop", ["count", "", "logits"], ["y"], "loop", body=body)], [count]
    )


def sequence() -> onnx.ModelProto:
    """Return a file whose output is a sequence of tensors."""
    model = _behind([helper.make_node("SplitToSequence", ["logits"], ["y"], "split", axis=1)])
    model.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    )
    return model


def positions() -> onnx.ModelProto:
    """Return a file whose output has a size that depends on the data."""
    return _behind(
        [helper.make_node("NonZero", ["logits"], ["y"], "places")], (), TensorProto.INT64
    )


def random() -> onnx.ModelProto:
    """Return a file that adds noise."""
    nodes = [
        helper.make_node("RandomNormalLike", ["logits"], ["noise"], "dice", scale=0.01),
        helper.make_node("Add", ["logits", "noise"], ["y"], "noisy"),
    ]
    return _behind(nodes)


def old_without_names() -> onnx.ModelProto:
    """Return a file of operator set 9 whose nodes have no names."""
    model = two_convolutions()
    model.graph.node.append(helper.make_node("NonZero", ["scores"], ["places"]))
    model.graph.output.append(onnx.ValueInfoProto(name="places"))
    for node in model.graph.node:
        node.name = ""
    model.opset_import[0].version = 9
    model.ir_version = 4
    model.graph.output[1].CopyFrom(helper.make_tensor_value_info("places", TensorProto.INT64, None))
    return model


ODD: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "condition": condition_on_data,
    "loop": loop,
    "sequence": sequence,
    "positions": positions,
    "random": random,
    "old": old_without_names,
}


def words() -> onnx.ModelProto:
    """Return a file that reads words."""
    encode = helper.make_node(
        "LabelEncoder",
        ["words"],
        ["ids"],
        "encode",
        domain="ai.onnx.ml",
        keys_strings=["a", "b", "c"],
        values_int64s=[0, 1, 2],
        default_int64=0,
    )
    nodes = [
        encode,
        helper.make_node("Gather", ["table", "ids"], ["rows"], "embed"),
        helper.make_node("Gemm", ["rows", "w3", "b3"], ["y"], "head", transB=1),
    ]
    constants = [constant("table", 3, 16), constant("w3", 4, 16), constant("b3", 4)]
    return model_of(
        nodes,
        {"words": ["N"]},
        ["y"],
        constants,
        domains={"ai.onnx.ml": 2},
        types={"words": TensorProto.STRING},
    )
