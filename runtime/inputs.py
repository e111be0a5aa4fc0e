"""Inputs for a model that comes without any: shapes from its signature, values from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressc.runtime.budgets import check_bytes
from compressc.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Dims = tuple[int | str | None, ...]
Shapes = Mapping[str, "int | Sequence[int]"]

_IMAGE_CHANNELS = 3
_IMAGE_SIDE = 224
_SEQUENCE_LENGTH = 128

_DTYPES: dict[str, type[Any]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


def resolve_shapes(
    dims: Mapping[str, Dims], batch: int = 1, overrides: Shapes | None = None
) -> dict[str, tuple[int, ...]]:
    """Give every axis of every input a size.

    A size written in the file stands. A symbolic first axis is the batch, and so is every other
    axis of that name. Further symbolic axes take, in this order, the override of their name, the
    override of their input, and the default: 3 x 224 x 224 behind the batch of a four-dimensional
    input, 128 anywhere else.

    Args:
        dims: per input its axes: a size, a name, or None for an axis without a name.
        batch: size of a symbolic first axis.
        overrides: a size per axis name, or a whole shape per input name. Names that this model
            lacks are ignored, so that one mapping can serve several models.

    Raises:
        RuntimeFailure: if an override does not fit its input, or a size is below 1.
    """
    if batch < 1:
        raise RuntimeFailure(f"batch {batch}: must be 1 or more")
    overrides = overrides or {}
    sizes = {name: _one_size(name, value) for name, value in overrides.items() if name not in dims}
    for axes in dims.values():
        if axes and isinstance(axes[0], str):
            sizes.setdefault(axes[0], batch)
    whole = {
        name: _whole_shape(name, dims[name], value)
        for name, value in overrides.items()
        if name in dims
    }
    for name, shape in whole.items():
        pairs = zip(dims[name], shape, strict=True)
        sizes.update({axis: size for axis, size in pairs if isinstance(axis, str)})
    return {
        name: whole.get(name) or tuple(_size(axes, i, batch, sizes) for i in range(len(axes)))
        for name, axes in dims.items()
    }


def foreign_overrides(dims: Mapping[str, Dims], overrides: Shapes | None) -> set[str]:
    """Return the override names that are neither an input nor an axis of this model."""
    axes = {axis for shape in dims.values() for axis in shape if isinstance(axis, str)}
    return set(overrides or {}) - axes - set(dims)


def actual_batch(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the first axis of the first input that has one: the items one run works on."""
    return next((shape[0] for shape in shapes.values() if shape and shape[0] > 0), 1)


def input_dims(session: InferenceSession) -> dict[str, Dims]:
    """Return the axes of the session's inputs, in the form :func:`resolve_shapes` reads."""
    return {
        item.name: tuple(_axis(axis) for axis in item.shape or ()) for item in session.get_inputs()
    }


def make_inputs(
    session: InferenceSession,
    batch: int = 1,
    seed: int = 0,
    overrides: Shapes | None = None,
) -> dict[str, NDArray[Any]]:
    """Make random inputs of the right type and shape for every input of a session.

    Floats are standard normal. Integers are 0 or 1, which every embedding table and mask accepts;
    a single integer is 1, since it tends to be a size or a count. Booleans are random.

    Args:
        session: the open model.
        batch: see :func:`resolve_shapes`.
        seed: equal seeds give equal inputs.
        overrides: see :func:`resolve_shapes`.

    Raises:
        RuntimeFailure: if an input is no tensor, is of a type numpy lacks, cannot be sized, or is
            larger than the memory budget.
    """
    shapes = resolve_shapes(input_dims(session), batch, overrides)
    for name, shape in shapes.items():
        check_bytes(f"input '{name}' of {show_dims(shape)}", 8 * prod(shape))
    rng = np.random.default_rng(seed)
    return {
        item.name: _values(item.name, item.type, shapes[item.name], rng)
        for item in session.get_inputs()
    }


def _values(name: str, kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    if kind not in _DTYPES:
        raise RuntimeFailure(
            f"input '{name}': of type {kind}, and only tensors of float, integer, bool and string "
            "can be made up; change the model's input to one of them"
        )
    dtype = _DTYPES[kind]
    if issubclass(dtype, np.floating):
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype, copy=False)
    if dtype is np.object_:
        return np.full(shape, "a", dtype=object)
    if dtype is np.bool_:
        return np.asarray(rng.integers(0, 2, shape), dtype=bool)
    if int(np.prod(shape)) == 1:
        return np.ones(shape, dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _axis(axis: object) -> int | str | None:
    if isinstance(axis, str) and axis:
        return axis
    # Some exporters write an unknown axis as -1.
    return axis if isinstance(axis, int) and axis >= 0 else None


def _size(axes: Dims, place: int, batch: int, sizes: Mapping[str, int]) -> int:
    axis = axes[place]
    if isinstance(axis, int):
        return axis
    if axis is not None and axis in sizes:
        return sizes[axis]
    if place == 0:
        return batch
    if len(axes) == 4:
        return _IMAGE_CHANNELS if place == 1 else _IMAGE_SIDE
    return _SEQUENCE_LENGTH


def _one_size(name: str, value: int | Sequence[int]) -> int:
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) != 1 or values[0] < 1:
        shown = "x".join(map(str, values))
        raise RuntimeFailure(
            f"shape {name}={shown}: the size of an axis is one whole number of 1 or more"
        )
    return values[0]


def _whole_shape(name: str, axes: Dims, value: int | Sequence[int]) -> tuple[int, ...]:
    shape: tuple[int, ...] = (value,) if isinstance(value, int) else tuple(value)
    fits = len(shape) == len(axes) and all(
        size >= 1 and (not isinstance(axis, int) or axis == size)
        for axis, size in zip(axes, shape, strict=True)
    )
    if not fits:
        raise RuntimeFailure(
            f"shape {name}={'x'.join(map(str, shape))}: does not fit the input, which is "
            f"{show_dims(axes)}"
        )
    return shape


def show_dims(axes: Iterable[int | str | None]) -> str:
    """Return axes as users write them: ``batch x 3 x 224 x 224``, ``?`` without a name."""
    return " x ".join("?" if axis is None else str(axis) for axis in axes) or "a single number"
