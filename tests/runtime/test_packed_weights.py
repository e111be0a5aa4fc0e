"""Params of compactly stored files are those of the dense ones."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressc.runtime.onnx_cost import count_cost
from compressc.storage.compact_storage import compact


def sparse_linear(share_of_zeros: float) -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((96, 64)).astype(np.float32)
    weight[generator.random(weight.shape) < share_of_zeros] = 0
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"], name="linear")],
        "sparse",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 96])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("share_of_zeros", [0.3, 0.6, 0.9, 0.995])
def test_a_packed_weight_counts_in_full(share_of_zeros: float) -> None:
    dense = sparse_linear(share_of_zeros)
    packed, choices = compact(dense)
    assert [choice.kind for choice in choices] != ["dense"]
    cost = count_cost(packed)
    assert cost.params == count_cost(dense).params == 96 * 64
    assert cost.macs == count_cost(dense).macs == 96 * 64
