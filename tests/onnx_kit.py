"""ONNX models made by hand, and by torch's exporters."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

Shape = Sequence[int | str | None]


def constant(name: str, *shape: int, seed: int = 0) -> onnx.TensorProto:
    """Return seeded weights."""
    values = np.random.default_rng(seed + len(name)).standard_normal(shape) * 0.3
    return numpy_helper.from_array(values.astype(np.float32), name)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape | None],
    outputs: Sequence[str],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 18,
    domains: Mapping[str, int] | None = None,
    ir_version: int = 8,
    types: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """Return a model; types of outputs are left to whoever reads it."""
    kinds = types or {}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [
            helper.make_tensor_value_info(name, kinds.get(name, onnx.TensorProto.FLOAT), shape)
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, kinds.get(name, onnx.TensorProto.FLOAT), None)
            for name in outputs
        ],
        list(constants),
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, version) for domain, version in (domains or {}).items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def two_convolutions(batch: int | str | None = "N", middle: str = "Relu") -> onnx.ModelProto:
    """Return Conv, an activation, Conv, mean and Gemm on 8x8 images of three channels."""
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], "first", pads=[1] * 4),
        helper.make_node(middle, ["c1"], ["r1"], "middle"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "second", pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"], "relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores"], "head", transB=1),
    ]
    weights = [
        constant("w1", 16, 3, 3, 3),
        constant("b1", 16, seed=1),
        constant("w2", 16, 16, 3, 3, seed=2),
        constant("b2", 16, seed=3),
        constant("w3", 4, 16, seed=4),
        constant("b3", 4, seed=5),
    ]
    return model_of(nodes, {"image": [batch, 3, 8, 8]}, ["scores"], weights)


def export(module: nn.Module, inputs: tuple[Any, ...], exporter: str) -> onnx.ModelProto:
    """Return what one of torch's exporters writes, "older" or "dynamo", for any batch."""
    buffer = io.BytesIO()
    names = [f"in{index}" for index in range(len(inputs))]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            batch = torch.export.Dim("batch")
            shapes = tuple({0: batch} for _ in inputs)
            program = torch.onnx.export(
                module.eval(),
                inputs,
                dynamo=True,
                external_data=False,
                input_names=names,
                output_names=["out"],
                dynamic_shapes=shapes,
                verbose=False,
            )
            return program.model_proto
        torch.onnx.export(
            module.eval(),
            inputs,
            buffer,
            dynamo=False,
            input_names=names,
            output_names=["out"],
            dynamic_axes={name: {0: "batch"} for name in names},
        )
    return onnx.load_model_from_string(buffer.getvalue())


def run(model: onnx.ModelProto, *inputs: NDArray[Any]) -> list[Any]:
    """Return what ONNX Runtime computes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    results: list[Any] = session.run(None, dict(zip(names, inputs, strict=True)))
    return results
