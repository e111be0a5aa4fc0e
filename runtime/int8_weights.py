"""Int8 weights of an ONNX file that are too large for processors whose sums of bytes overflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.checker import ValidationError

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.int8_path import saturates
from compressc.runtime.machine import Machine, describe_machine
from compressc.runtime.onnx_cost import load_model

# Two products of an unsigned byte and such a weight fit into 16 bits.
_LARGEST_IN_7_BITS = 64
# Operators that multiply bytes by a stored weight, and at which input the weight is.
_BYTES_TIMES = {
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "QGemm": 3,
    "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1,
}
# Operators that multiply bytes where both inputs are dequantised in front of them.
_BETWEEN_DEQUANTIZED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def find_wide_weights(model: onnx.ModelProto, folder: Path | None = None) -> tuple[str, ...]:
    """Return the stored int8 weights of more than 7 bits that meet quantised activations, by name.

    Args:
        model: the ONNX model; its external weights need not be loaded.
        folder: where the external weights lie; None where all are inside the model.
    """
    stored = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8
    }
    base = str(folder) if folder is not None else ""
    names = [name for name in dict.fromkeys(_multiplied(model.graph)) if name in stored]
    return tuple(name for name in names if _is_wide(numpy_helper.to_array(stored[name], base)))


def saturation_warning(path: str | Path, machine: Machine | None = None) -> str:
    """Return one line for the user where a file computes something else on a processor.

    Args:
        path: the ONNX file.
        machine: the machine that runs it; None for this one.

    Returns:
        The warning; empty where the file's sums fit, or the machine's do not overflow.

    Raises:
        RuntimeFailure: if the file cannot be read.
    """
    machine = machine or describe_machine()
    if not saturates(machine):
        return ""
    try:
        wide = find_wide_weights(load_model(path), Path(path).resolve().parent)
    except (OSError, ValueError, ValidationError) as error:
        raise RuntimeFailure(
            f"{path}: its external weights cannot be read; put the file that was written with it "
            "into the same folder"
        ) from error
    if not wide:
        return ""
    return (
        f"{path}: its int8 weights have 8 bits ({wide[0]}), and sums of them overflow on "
        f"{machine.cpu_model}, which has no VNNI: outputs are wrong here; quantise for this "
        "processor, with weights of 7 bits"
    )


def _multiplied(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the names of stored tensors whose bytes are multiplied by bytes of an activation."""
    dequantized = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"
    }
    for node in graph.node:
        place = _BYTES_TIMES.get(node.op_type)
        if place is not None and place < len(node.input):
            yield node.input[place]
        elif node.op_type in _BETWEEN_DEQUANTIZED and all(
            name in dequantized for name in node.input[:2]
        ):
            yield dequantized[node.input[1]]


def _is_wide(weight: np.ndarray) -> bool:
    return bool(np.abs(weight.astype(np.int16)).max(initial=0) > _LARGEST_IN_7_BITS)
