"""What is written into a file beside what the exporter leaves."""

import numpy as np
import torch
from onnx import numpy_helper
from torch import nn

import compressc
from compressc.backend.onnx_export import export_onnx


def test_zeros_behind_a_negative_batch_norm_are_plain_zeros() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
    with torch.no_grad():
        network[0].weight[torch.rand_like(network[0].weight) < 0.9] = 0
        network[1].weight.neg_()
        network[1].running_mean.normal_()
    model = export_onnx(compressc.capture(network, (torch.randn(2, 3, 8, 8),)))
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    (weight,) = [t for t in model.graph.initializer if t.name == model.graph.node[0].input[1]]
    array = numpy_helper.to_array(weight)
    assert (array == 0).mean() > 0.8
    assert not np.signbit(array[array == 0]).any()
