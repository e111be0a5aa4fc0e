"""What an ONNX file may hold that no network of floating-point numbers is made of."""

from __future__ import annotations

import onnx

from compressc.errors import ConversionError
from compressc.frontend.onnx_import.graph import Graph, GraphNode, walk

_QUANTIZED = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinear",
    "ConvInteger",
    "MatMulInteger",
    "com.microsoft:QLinear",
    "com.microsoft:DynamicQuantize",
    "com.microsoft:MatMulNBits",
    "com.microsoft:QGemm",
    "com.microsoft:QAttention",
    "com.microsoft:MatMulInteger",
    "com.microsoft:QuantizeLinear",
    "com.microsoft:DequantizeLinear",
)


def refuse_quantized(graph: Graph) -> None:
    """Refuse files that are quantised.

    Raises:
        ConversionError: naming the first node that shows it.
    """
    node = find_quantized(graph)
    if node is not None:
        raise ConversionError(
            f"it is quantised already ({node}); hand over the float file that it was made "
            "from, whose channels can be removed, and quantise the result with --int8"
        )


def find_quantized(graph: Graph) -> GraphNode | None:
    """Return the first node that shows that a file is quantised, None if it is not."""
    return next((n for n in walk(graph) if n.operator.startswith(_QUANTIZED)), None)


def refuse_other_values(model: onnx.ModelProto) -> None:
    """Refuse files whose inputs and outputs are no tensors of numbers.

    Raises:
        ConversionError: naming the first one.
    """
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise ConversionError(
                f"'{value.name}' is no tensor but a {(kind or 'value without a type')}; export a "
                "network of tensors"
            )
        if value.type.tensor_type.elem_type == onnx.TensorProto.STRING:
            raise ConversionError(
                f"'{value.name}' holds strings; cut the text's preparation off "
                "(onnx.utils.extract_model) and hand over the network of numbers"
            )
