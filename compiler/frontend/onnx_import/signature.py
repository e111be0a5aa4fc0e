"""Signature: what goes into an ONNX model, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import torch

from compressc.errors import ConversionError, HandOverError
from compressc.frontend.onnx_import.element_types import torch_type

Dimension = int | str | None


@dataclass(frozen=True)
class Input:
    """One input.

    Attributes:
        name: in the file.
        dtype: of its elements.
        axes: a size, a name, or None for an axis without either; None where not even the number of
            axes is known.
    """

    name: str
    dtype: torch.dtype
    axes: tuple[Dimension, ...] | None


def read_inputs(model: onnx.ModelProto) -> tuple[Input, ...]:
    """Return the inputs of a model that are no initializers.

    Raises:
        ConversionError: if there is none.
        HandOverError: if a size makes no sense.
    """
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_read(v) for v in model.graph.input if v.name not in initialized)
    if not inputs:
        raise ConversionError("the network takes no input; export it again with one")
    return inputs


def _read(value: onnx.ValueInfoProto) -> Input:
    tensor = value.type.tensor_type
    axes = tuple(map(_dimension, tensor.shape.dim)) if tensor.HasField("shape") else None
    for size in axes or ():
        if isinstance(size, int) and size > _LARGEST:
            raise HandOverError(
                f"input '{value.name}' has an axis of {size} elements; the file is damaged"
            )
    return Input(value.name, torch_type(tensor.elem_type), axes)


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> Dimension:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    # Exporters write 0 and negative sizes for "any".
    return dim.dim_param or None


_LARGEST = 2**24
