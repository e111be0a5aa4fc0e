"""The first layers of an int8 model: which of them stay in float32.

Measured (see :mod:`compressc.backend.quantization`): MobileNetV1 at half the MACs runs 3.1x as fast
as dense float32 with everything in int8, 3.3x with the first convolution in float32, 3.6x with the
depthwise one behind it as well: int8 kernels fill their vectors with input channels, and there are
3, or 1. It is the more accurate choice, too: the image keeps all of its bits. Where a max pooling
follows, as in ResNet-50, the opposite holds (4.8x against 3.7x): ONNX Runtime moves quantisation in
front of the pooling, whose int8 kernel is slow in the layout of float convolutions. The last layer
multiplies in int8, but its output stays float32, see :mod:`compressc.backend.float_outputs`.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

_PASSES_THROUGH = ("Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "Mul", "Add")
# Vectors of int8 kernels are four products deep: fewer input channels leave them empty.
_NARROW = 4


def float_stem(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the convolutions at the input that should stay in float32, by node name."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    stem: list[str] = []
    reached = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if not reached.intersection(node.input):
            continue
        if node.op_type == "Conv" and _is_narrow(node, weights):
            stem.append(node.name)
            reached.update(node.output)
        elif node.op_type in _PASSES_THROUGH:
            reached.update(node.output)
        elif node.op_type == "MaxPool":
            return ()
    return tuple(stem)


def _is_narrow(node: onnx.NodeProto, weights: Mapping[str, tuple[int, ...]]) -> bool:
    shape = weights.get(node.input[1], ())
    return len(shape) > 1 and shape[1] < _NARROW
