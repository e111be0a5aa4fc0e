"""Comparisons: what an ONNX file says of itself, beside the program it was made of."""

from __future__ import annotations

from onnx import ModelProto

from compressc.dynamic_axes import list_axis_sizes
from compressc.pipeline.checks import Counted
from compressc.program import Program
from compressc.runtime.onnx_cost import count_cost


def count_file(model: ModelProto, program: Program) -> Counted:
    """Return what an ONNX model itself says it costs, per sample."""
    count = count_cost(model, 1, list_axis_sizes(program))
    return Counted(count.macs_per_item, count.size_bytes, "; ".join(count.uncounted[:1]))
