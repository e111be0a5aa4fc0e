"""Outputs of an int8 model keep their full precision where that costs nothing."""

from __future__ import annotations

import onnx

# ONNX Runtime multiplies in int8 and returns float32 in one kernel for these; a convolution
# without a quantised output it would compute in float32.
_FLOAT_OUTPUT = ("Gemm", "MatMul")


def with_float_outputs(model: onnx.ModelProto) -> None:
    """Take the quantisation of outputs away, in place, where the last layer allows it.

    Given: ``Gemm -> QuantizeLinear -> DequantizeLinear -> output``.
    Result: ``Gemm -> output``: logits keep their order instead of being rounded to 256 steps.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    for output in graph.output:
        dequantize = makers.get(output.name)
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        quantize = makers.get(dequantize.input[0])
        if quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        layer = makers.get(quantize.input[0])
        if layer is None or layer.op_type not in _FLOAT_OUTPUT:
            continue
        between = {layer.output[0], quantize.output[0]}
        readers = [node for node in graph.node if between.intersection(node.input)]
        if len(readers) != 2 or any(value.name in between for value in graph.output):
            continue
        layer.output[0] = output.name
        graph.node.remove(quantize)
        graph.node.remove(dequantize)
