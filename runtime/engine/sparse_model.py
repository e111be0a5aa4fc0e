"""A sparse file on the engine alone: no ONNX Runtime, one thread."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from compressc.runtime.engine.library import OPERATOR, load_library
from compressc.runtime.errors import RuntimeFailure

_TEXT_BYTES = 1 << 10
_PROFILE_BYTES = 1 << 20
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class StepTime:
    """One step of the engine.

    Attributes:
        work: "convolve", "multiply", "pool", "average", "activate"; "move" where elements change
            places, "halo" where borders are copied.
        operation: its place among the plan's operations, -1 for moves and halos.
        microseconds: the least of several runs.
        macs: multiply-adds of a convolution, lanes without a place included.
    """

    work: str
    operation: int
    microseconds: float
    macs: int


class SparseModel:
    """A file whose graph is one sparse node, opened on the engine.

    Example:
        >>> SparseModel("fast.onnx").run(images)  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, instruction_set: str = "") -> None:
        """Open a file.

        Args:
            path: an ONNX file that ``compressc --engine sparse`` wrote.
            instruction_set: "avx512", "avx2" or "generic"; empty for the best one.

        Raises:
            RuntimeFailure: if the file is no such file, is damaged, or the engine is missing.
        """
        self._name = str(path)
        graph = _read(Path(path)).graph
        nodes = [node for node in graph.node if node.op_type == OPERATOR]
        if len(nodes) != 1 or len(graph.node) != 1:
            raise RuntimeFailure(
                f"{path}: is not one sparse node ({len(graph.node)} nodes, {len(nodes)} of them "
                "sparse); open it with ONNX Runtime and compressc.runtime.register"
            )
        (node,) = nodes
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._arrays = [_as_stored(constants.get(name), name, path) for name in node.input]
        self.input_names = tuple(name for name in node.input if name not in constants)
        self.output_names = tuple(value.name for value in graph.output)
        self._order = [list(node.output).index(name) for name in self.output_names]
        plan = next((list(a.ints) for a in node.attribute if a.name == "plan"), [])
        self._handle = _open(self._name, plan, self._arrays, instruction_set)
        ends = _read_ends(plan)
        self._output_sizes = ends.outputs
        self._input_elements = [math.prod(sizes) for sizes in ends.inputs]
        weakref.finalize(self, load_library().compressc_close, self._handle)

    def run(self, *inputs: Floats) -> list[Floats]:
        """Return the outputs for a batch, in the order of ``output_names``.

        Args:
            inputs: one float32 array for each of ``input_names``, the batch first.

        Raises:
            RuntimeFailure: if an array does not have the sizes that the file was made for.
        """
        batch, arrays = self._check(inputs)
        outputs = [np.empty((batch, *sizes), np.float32) for sizes in self._output_sizes]
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        failed = load_library().compressc_run(
            ctypes.c_void_p(self._handle),
            ctypes.c_int64(batch),
            _pointers(arrays),
            _pointers(outputs),
            text,
            ctypes.c_size_t(_TEXT_BYTES),
        )
        if failed:
            raise RuntimeFailure(f"{self._name}: {text.value.decode()}")
        return [outputs[place] for place in self._order]

    def profile(self, batch: int = 1, runs: int = 20) -> list[StepTime]:
        """Return the time of every step, on made-up inputs."""
        text = ctypes.create_string_buffer(_PROFILE_BYTES)
        failed = load_library().compressc_profile(
            ctypes.c_void_p(self._handle),
            ctypes.c_int64(batch),
            ctypes.c_int(runs),
            text,
            ctypes.c_size_t(_PROFILE_BYTES),
        )
        if failed:
            raise RuntimeFailure(f"{self._name}: {text.value.decode()}")
        rows = [line.split() for line in text.value.decode().splitlines()]
        return [StepTime(w, int(k), float(us), int(macs)) for w, k, us, macs in rows]

    def _check(self, inputs: Sequence[Floats]) -> tuple[int, list[Floats]]:
        if len(inputs) != len(self.input_names):
            raise RuntimeFailure(
                f"{self._name}: takes {len(self.input_names)} inputs, not {len(inputs)}"
            )
        arrays = [np.ascontiguousarray(array, dtype=np.float32) for array in inputs]
        batches = {array.shape[0] if array.ndim else -1 for array in arrays}
        elements = [math.prod(array.shape[1:]) if array.ndim else 0 for array in arrays]
        if len(batches) != 1 or elements != self._input_elements:
            shapes = ", ".join("x".join(map(str, array.shape)) for array in arrays)
            raise RuntimeFailure(
                f"{self._name}: inputs of shape {shapes} do not fit; a sample has "
                f"{', '.join(map(str, self._input_elements))} numbers"
            )
        return batches.pop(), arrays


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's errors share no base with onnx's
        raise RuntimeFailure(f"{path}: cannot be read as ONNX ({error})") from error


def _as_stored(array: NDArray[Any] | None, name: str, path: str | Path) -> NDArray[Any] | None:
    if array is not None and array.dtype not in (np.float32, np.uint8):
        raise RuntimeFailure(f"{path}: weight {name} is neither of floats nor of bytes")
    return None if array is None else np.ascontiguousarray(array)


def _pointers(arrays: Sequence[NDArray[Any] | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(
        *[a.ctypes.data if a is not None else None for a in arrays]
    )


def _open(
    name: str, plan: list[int], arrays: Sequence[NDArray[Any] | None], instruction_set: str
) -> int:
    numbers = np.array(plan, dtype=np.int64)
    sizes = [array.nbytes if array is not None else 0 for array in arrays]
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    handle = load_library().compressc_open(
        ctypes.c_void_p(numbers.ctypes.data),
        ctypes.c_size_t(len(numbers)),
        _pointers(arrays),
        (ctypes.c_int64 * len(sizes))(*sizes),
        ctypes.c_size_t(len(arrays)),
        instruction_set.encode(),
        text,
        ctypes.c_size_t(_TEXT_BYTES),
    )
    if not handle:
        raise RuntimeFailure(f"{name}: {text.value.decode()}")
    return int(handle)


@dataclass(frozen=True)
class _Ends:
    """What a plan takes and gives: the sizes of one sample of each array."""

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


def _read_ends(plan: list[int]) -> _Ends:
    """Read the beginning of a plan that the engine has accepted."""
    numbers = iter(plan[1:])
    tensors = [tuple(islice(numbers, 3)) for _ in range(next(numbers))]
    inputs = tuple(tensors[next(numbers)] for _ in range(next(numbers)))
    outputs = tuple(tensors[next(numbers)][: next(numbers) - 1] for _ in range(next(numbers)))
    return _Ends(inputs, outputs)
