"""Small ONNX models for the runtime's tests."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Build = Callable[..., onnx.ModelProto]
OPSETS = {"": 20, "com.microsoft": 1, "ai.onnx.ml": 3, "my": 1}


def _value(name: str, shape: Sequence[int | str | None] | None, dtype: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


@pytest.fixture(scope="session")
def build() -> Build:
    """A function that makes a model of nodes, inputs ``{name: shape}`` and initializers."""

    def make(
        nodes: Iterable[onnx.NodeProto],
        inputs: dict[str, Sequence[int | str | None]],
        weights: dict[str, np.ndarray] | None = None,
        outputs: Sequence[str] = ("y",),
        dtypes: dict[str, int] | None = None,
        output_dtype: int = TensorProto.FLOAT,
        opset: int = 20,
        functions: Iterable[onnx.FunctionProto] = (),
    ) -> onnx.ModelProto:
        dtypes = dtypes or {}
        nodes = list(nodes)
        graph = helper.make_graph(
            nodes,
            "test",
            [_value(n, s, dtypes.get(n, TensorProto.FLOAT)) for n, s in inputs.items()],
            [_value(n, None, output_dtype) for n in outputs],
            [numpy_helper.from_array(w, n) for n, w in (weights or {}).items()],
        )
        domains = {"", *(node.domain for node in nodes)}
        opsets = [helper.make_opsetid(d, opset if not d else OPSETS[d]) for d in sorted(domains)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=10, functions=list(functions)
        )

    return make


@pytest.fixture
def small_conv(build: Build, tmp_path: Path) -> Path:
    """Conv 3 -> 8, 3x3 pad 1, on (batch, 3, 8, 8): 13824 MACs per item, 216 params."""
    path = tmp_path / "small.onnx"
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])
    onnx.save(build([node], {"x": ["batch", 3, 8, 8]}, {"w": weights(8, 3, 3, 3)}), path)
    return path


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
