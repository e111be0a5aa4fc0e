"""Quantisation: an ONNX model with int8 weights and activations, by ONNX Runtime's quantiser.

What was measured (ONNX Runtime 1.31.1, Xeon with VNNI and AMX, one thread, half the MACs left,
speed-up over the dense float32 model by CPU time): unsigned activations with signed weights
ResNet-50 4.8x and MobileNetV1 3.0x; signed activations 2.0x and 3.0x, since ReLUs behind an
addition cannot be folded into its scale; symmetric signed ones 1.7x and 1.8x, for the same reason
everywhere. So activations are unsigned.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from compressc.array_types import Array
from compressc.backend.float_outputs import with_float_outputs
from compressc.backend.quantized_stem import float_stem
from compressc.error_text import name_error
from compressc.errors import ExportError
from compressc.runtime.int8_path import runs_on

# What is worth it: operations that multiply, and all that bytes may flow through on their way from
# one to the next. Normalisations, softmax and smooth activations keep their precision.
_QUANTIZED = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul"),
    *("Add", "Mul", "Concat", "Relu", "Clip", "LeakyRelu"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Pad", "Resize"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Gather"),
)
PRECISION = "int8 (QDQ, uint8 activations, int8 weights per channel)"
# Entries of ``metadata_props``: where the file computes what it should, and why only there.
RUNS_ON, WEIGHT_BITS = "compressc.runs_on", "compressc.int8_weight_bits"

# Levels of ONNX Runtime's log.
_WARNING, _FATAL = 2, 4

Feeds = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """An int8 model.

    Attributes:
        model: with QuantizeLinear and DequantizeLinear around what is computed in int8.
        nodes: how many operations read quantised values.
        kept_float: nodes that were left in float32 on purpose, by name.
        weight_bits: how many bits of a byte the weights use, 7 or 8.
    """

    model: onnx.ModelProto
    nodes: int
    kept_float: tuple[str, ...]
    weight_bits: int


def quantize(
    model: onnx.ModelProto, feeds: Sequence[Feeds], *, weight_bits: int = 7
) -> QuantizedModel:
    """Return the model in static int8, per channel; the input is left as it is.

    Args:
        model: float32, with plain initializers.
        feeds: batches to calibrate on: the range of every activation is that on these.
        weight_bits: 7 for every processor; 8 is more precise, for one that is known to sum
            products of bytes exactly (:func:`compressc.runtime.int8_path.int8_weight_bits`).

    Raises:
        ExportError: if the quantiser fails, or finds nothing to quantise.
    """
    kept_float = float_stem(model)
    with tempfile.TemporaryDirectory(prefix="compressc-") as name, _quiet():
        prepared, output = Path(name) / "prepared.onnx", Path(name) / "int8.onnx"
        try:
            # Constants and batch norms are folded by the exporter already, and the optimiser
            # would take the names of nodes away; what is missing are the shapes.
            quant_pre_process(
                model, str(prepared), skip_optimization=True, skip_symbolic_shape=True
            )
            quantize_static(
                str(prepared),
                str(output),
                _Reader(feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTIZED),
                nodes_to_exclude=list(kept_float),
                per_channel=True,
                reduce_range=weight_bits == 7,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            result = onnx.load(output)
            with_float_outputs(result)
        except Exception as error:
            raise ExportError(
                f"ONNX Runtime's quantiser failed ({name_error(error)}); leave out int8"
            ) from error
    said = {entry.key: entry.value for entry in model.metadata_props}
    where = {RUNS_ON: runs_on(weight_bits), WEIGHT_BITS: str(weight_bits)}
    onnx.helper.set_model_props(result, {**said, **where})
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    readers = _readers_of_bytes(result)
    if not readers:
        raise ExportError("there is nothing to quantise in this model; leave out int8")
    return QuantizedModel(result, readers, kept_float, weight_bits)


def is_quantized(model: onnx.ModelProto) -> bool:
    """Return whether a model has quantised values."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands batches to the calibrator, one after the other."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next batch, None at the end."""
        batch = next(self._feeds, None)
        return None if batch is None else dict(batch)


def _readers_of_bytes(model: onnx.ModelProto) -> int:
    bytes_read = {
        output
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for output in node.output
    }
    return sum(
        any(name in bytes_read for name in node.input)
        for node in model.graph.node
        if node.op_type != "QuantizeLinear"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser and its sessions give advice, of which nothing concerns the user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        logging.disable(level)
        onnxruntime.set_default_logger_severity(_WARNING)
