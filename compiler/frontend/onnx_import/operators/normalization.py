"""Normalisation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from compressc.frontend.onnx_import.call import Call, Results
from compressc.frontend.onnx_import.registry import operator


@operator("BatchNormalization")
def normalize_batch(call: Call) -> Results:
    """With the statistics that the file carries, as in inference."""
    if call.attribute("training_mode", 0):
        raise call.unsupported("in training mode")
    if not call.attribute("spatial", 1):
        raise call.unsupported("with statistics per position (spatial=0)")
    x, scale, bias, mean, variance = call.tensors()[:5]
    momentum = 1.0 - call.attribute("momentum", 0.9)
    epsilon = call.attribute("epsilon", 1e-5)
    return torch.batch_norm(x, scale, bias, mean, variance, False, momentum, epsilon, False)


@operator("InstanceNormalization")
def normalize_instance(call: Call) -> Results:
    """Statistics per sample and channel."""
    x, scale, bias = call.tensors()
    return F.instance_norm(x, weight=scale, bias=bias, eps=call.attribute("epsilon", 1e-5))


@operator("LayerNormalization")
def normalize_layer(call: Call) -> Results:
    """Statistics over the last axes."""
    if any(call.node.outputs[1:]):
        raise call.unsupported("with its statistics as outputs")
    x = call.tensor(0)
    axis = call.attribute("axis", -1) % x.dim()
    shape = x.shape[axis:]
    scale, bias = call.tensor(1).reshape(shape), call.optional(2)
    bias = None if bias is None else bias.reshape(shape)
    return F.layer_norm(x, shape, scale, bias, call.attribute("epsilon", 1e-5))


@operator("SimplifiedLayerNormalization", "RMSNormalization")
def normalize_root_mean_square(call: Call) -> Results:
    """Division by the root of the mean square over the last axes."""
    if any(call.node.outputs[1:]):
        raise call.unsupported("with its statistics as outputs")
    x = call.tensor(0)
    shape = x.shape[call.attribute("axis", -1) % x.dim() :]
    return F.rms_norm(x, shape, call.tensor(1), call.attribute("epsilon", 1e-5))


@operator("GroupNormalization")
def normalize_groups(call: Call) -> Results:
    """Statistics over blocks of channels; scale per block (before opset 21) or per channel."""
    x, scale, bias = call.tensors()
    blocks = call.attribute("num_groups")
    if call.node.version < 21:
        repeats = x.shape[1] // blocks
        scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return F.group_norm(x, blocks, scale, bias, call.attribute("epsilon", 1e-5))


@operator("LRN")
def normalize_locally(call: Call) -> Results:
    """Local response normalisation across channels."""
    return F.local_response_norm(
        call.tensor(0),
        call.attribute("size"),
        call.attribute("alpha", 1e-4),
        call.attribute("beta", 0.75),
        call.attribute("bias", 1.0),
    )


@operator("LpNormalization")
def normalize_norm(call: Call) -> Results:
    """Division by the p-norm along one axis."""
    x, axis, power = call.tensor(0), call.attribute("axis", -1), call.attribute("p", 2)
    norm: Tensor = torch.linalg.vector_norm(x, float(power), dim=(axis,), keepdim=True)
    return x / norm


@operator("MeanVarianceNormalization")
def normalize_mean_variance(call: Call) -> Results:
    """Zero mean and unit variance over some axes."""
    x, axes = call.tensor(0), tuple(call.attribute("axes", [0, 2, 3]))
    mean = x.mean(axes, keepdim=True)
    deviation = (x.pow(2).mean(axes, keepdim=True) - mean.pow(2)).sqrt()
    return (x - mean) / (deviation + 1e-9)
