"""Operators that make values out of sizes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from compressc.frontend.onnx_import.call import Call, Results
from compressc.frontend.onnx_import.element_types import torch_type
from compressc.frontend.onnx_import.registry import operator


@operator("ConstantOfShape")
def fill(call: Call) -> Results:
    """One value everywhere."""
    value = call.attribute("value", np.zeros(1, dtype=np.float32))
    dtype = torch.from_numpy(np.asarray(value)).dtype
    return torch.full(tuple(call.numbers(0, "a shape")), value.reshape(-1)[0].item(), dtype=dtype)


@operator("Range")
def count(call: Call) -> Results:
    """From a start to a limit in equal steps."""
    start, limit, step = (call.numbers(index, "bounds")[0] for index in range(3))
    first = call.inputs[0]
    dtype = first.dtype if isinstance(first, Tensor) else call.tensor(0).dtype
    return torch.arange(start, limit, step, dtype=dtype)


@operator("EyeLike")
def identity(call: Call) -> Results:
    """Ones on a diagonal."""
    x, offset = call.tensor(0), call.attribute("k", 0)
    if offset:
        raise call.unsupported("with a shifted diagonal")
    to = call.attribute("dtype")
    dtype = x.dtype if to is None else torch_type(to)
    return torch.eye(x.shape[0], x.shape[1], dtype=dtype)


@operator(
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)
def draw(call: Call) -> Results:
    """Nothing that is random can be compared."""
    raise call.unsupported("which draws random numbers")
