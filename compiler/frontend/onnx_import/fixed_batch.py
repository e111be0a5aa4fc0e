"""Fixed batches: many files are exported for one sample, though their network takes any number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from compressc.frontend.onnx_import.signature import Input
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.session import create_session, run_session

_BATCH = "batch"
_CHUNKS = 3
# Kernels may sum in another order for another batch.
_TOLERANCE = 1e-5


def free_batch(
    model: onnx.ModelProto, inputs: Sequence[Input], seed: int
) -> onnx.ModelProto | None:
    """Return the model for any batch, where that is the same network; None where it is not.

    Given:  inputs whose first axes have one fixed size, and reshapes that write it out.
    Result: a batch axis by name, and reshapes that let it be. In ONNX Runtime, three batches at
    once have to give what the given model gives for each, on every output.
    """
    firsts = {entry.axes[0] if entry.axes else None for entry in inputs}
    size = firsts.pop()
    if firsts or not isinstance(size, int) or size < 1:
        return None
    if any(not all(isinstance(axis, int) for axis in entry.axes or ()) for entry in inputs):
        return None
    freed = _without_fixed_batch(model, size)
    return freed if _is_same(model, freed, inputs, size, seed) else None


def _without_fixed_batch(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    del freed.graph.value_info[:]
    for value in (*freed.graph.input, *freed.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == size:
            dims[0].dim_param = _BATCH
    constants = {tensor.name: tensor for tensor in freed.graph.initializer}
    for node in freed.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                constants[node.output[0]] = attribute.t
    for index, node in enumerate(freed.graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape = numpy_helper.to_array(constants[node.input[1]]).copy()
        if shape.ndim != 1 or shape.size < 2 or shape[0] != size:
            continue
        shape[0] = 0 if (shape[1:] == -1).any() else -1
        # Under a name of its own: others may read the same constant.
        name = f"{node.input[1]}/any_batch_{index}"
        freed.graph.initializer.append(numpy_helper.from_array(shape, name))
        node.input[1] = name
    return freed


def _is_same(
    model: onnx.ModelProto,
    freed: onnx.ModelProto,
    inputs: Sequence[Input],
    size: int,
    seed: int,
) -> bool:
    generator = torch.Generator().manual_seed(seed)
    chunks = [{entry.name: _draw(entry, generator) for entry in inputs} for _ in range(_CHUNKS)]
    joined = {
        entry.name: np.concatenate([chunk[entry.name] for chunk in chunks]) for entry in inputs
    }
    try:
        given = create_session(model.SerializeToString(), "the file")
        truth = [run_session(given, chunk, "the file") for chunk in chunks]
        results = run_session(
            create_session(freed.SerializeToString(), "the file"), joined, "the file"
        )
    except RuntimeFailure:
        return False
    for result, *parts in zip(results, *truth, strict=True):
        if not all(part.ndim and part.shape[0] == size for part in parts):
            return False
        expected = np.concatenate(parts)
        if expected.shape != result.shape or not _is_near(result, expected):
            return False
    return True


def _is_near(result: NDArray[Any], expected: NDArray[Any]) -> bool:
    if expected.dtype.kind != "f":
        return bool((result == expected).all())
    finite = expected[np.isfinite(expected)]
    largest = float(np.abs(finite).max(initial=0.0))
    near = np.allclose(result, expected, rtol=0.0, atol=_TOLERANCE * largest, equal_nan=True)
    return bool(near)


def _draw(entry: Input, generator: torch.Generator) -> NDArray[Any]:
    shape = tuple(int(axis) for axis in entry.axes or () if isinstance(axis, int))
    if entry.dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(entry.dtype).numpy()
    return torch.randint(0, 2, shape, generator=generator).to(entry.dtype).numpy()
