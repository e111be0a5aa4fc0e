"""Element types of ONNX in torch."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from compressc.errors import HandOverError


def torch_type(onnx_type: int) -> torch.dtype:
    """Return torch's type of an ONNX element type.

    Raises:
        HandOverError: if torch has none.
    """
    if onnx_type == onnx.TensorProto.BFLOAT16:
        return torch.bfloat16
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(onnx_type)
        return torch.from_numpy(np.empty(0, dtype=dtype)).dtype
    except (KeyError, TypeError) as error:
        name = onnx.TensorProto.DataType.Name(onnx_type)
        raise HandOverError(f"it uses elements of type {name}, which torch lacks") from error
