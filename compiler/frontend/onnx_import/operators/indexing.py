"""Operators that pick elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compressc.frontend.onnx_import.call import Call, Results, positive_axes
from compressc.frontend.onnx_import.known import Known, is_symbol
from compressc.frontend.onnx_import.registry import operator

_FAR = 2**31 - 1


@operator("Gather")
def gather(call: Call) -> Results:
    """Slices along one axis, by position."""
    x, axis = call.tensor(0), call.attribute("axis", 0)
    axis = axis + x.dim() if axis < 0 else axis
    known = call.known(1)
    if known is not None and known.ndim == 0:
        return x.select(axis, known.item())
    stored = call.inputs[0]
    table = isinstance(stored, Known) and x.is_floating_point() and x.dim() == 2 and axis == 0
    indices = call.tensor(1)
    if table:
        return F.embedding(indices, x)
    if known is not None and known.dtype != object and (known < 0).any():
        indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    if indices.dim() == 1:
        return torch.index_select(x, axis, indices)
    flat = torch.index_select(x, axis, indices.reshape(-1))
    return flat.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@operator("GatherElements")
def gather_elements(call: Call) -> Results:
    """Elements along one axis, by position."""
    x, indices, axis = call.tensor(0), call.tensor(1), call.attribute("axis", 0)
    size = x.shape[axis]
    return torch.gather(x, axis, torch.where(indices < 0, indices + size, indices))


@operator("GatherND")
def gather_slices(call: Call) -> Results:
    """Slices by positions on several axes."""
    if call.attribute("batch_dims", 0):
        raise call.unsupported("with batch_dims")
    x, indices = call.tensor(0), call.tensor(1)
    return x[tuple(indices[..., axis] for axis in range(indices.shape[-1]))]


@operator("ScatterND")
def scatter_slices(call: Call) -> Results:
    """A copy with slices replaced, or added to, by positions on several axes."""
    x, indices, updates = call.tensors()
    reduction = call.attribute("reduction", "none")
    if reduction not in ("none", "add"):
        raise call.unsupported(f"with reduction={reduction}")
    places = tuple(indices[..., axis] for axis in range(indices.shape[-1]))
    return torch.index_put(x, places, updates, accumulate=reduction == "add")


@operator("ScatterElements", "Scatter")
def scatter_elements(call: Call) -> Results:
    """A copy with elements replaced, or added to, by position along one axis."""
    x, indices, updates = call.tensors()
    axis, reduction = call.attribute("axis", 0), call.attribute("reduction", "none")
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    if reduction == "none":
        return torch.scatter(x, axis, indices, updates)
    if reduction == "add":
        return torch.scatter_add(x, axis, indices, updates)
    raise call.unsupported(f"with reduction={reduction}")


@operator("Slice")
def cut(call: Call) -> Results:
    """Ranges along some axes; a negative step runs backwards."""
    x = call.tensor(0)
    starts, ends = call.setting("starts", 1), call.setting("ends", 2)
    axes = call.setting("axes", 3) or list(range(len(starts)))
    steps = call.setting("steps", 4) or [1] * len(starts)
    for axis, start, end, step in zip(
        positive_axes(axes, x.dim()), starts, ends, steps, strict=True
    ):
        x = _cut_axis(call, x, axis, start, end, step)
    return x


def _cut_axis(call: Call, x: Tensor, axis: int, start: Any, end: Any, step: Any) -> Tensor:
    if is_symbol(step):
        raise call.unsupported("with a step that depends on the input's size")
    if step < 0:
        size = x.shape[axis]
        if is_symbol(size):
            raise call.unsupported("backwards along an axis whose size is not fixed")
        positions = list(range(size))[slice(_near(start), _back_end(end), step)]
        index = torch.from_numpy(np.array(positions, dtype=np.int64))
        return x.flip(axis) if len(positions) == size else torch.index_select(x, axis, index)
    whole = not is_symbol(start) and start == 0 and not is_symbol(end) and end >= _FAR
    if whole and step == 1:
        return x
    span = slice(_near(start), None if not is_symbol(end) and end >= _FAR else _near(end), step)
    return x[(slice(None),) * axis + (span,)]


def _near(bound: Any) -> Any:
    """Return a bound within what torch takes."""
    return bound if is_symbol(bound) else max(-_FAR, min(_FAR, bound))


def _back_end(end: Any) -> int | None:
    """Return the end of a backward range; exporters write "to the front" as a huge negative."""
    return None if end <= -_FAR else int(end)


@operator("TopK")
def pick_largest(call: Call) -> Results:
    """The k largest or smallest values along one axis, and their positions."""
    k = call.numbers(1, "a count")[0] if call.has(1) else call.attribute("k")
    values, positions = torch.topk(
        call.tensor(0),
        k,
        call.attribute("axis", -1),
        bool(call.attribute("largest", 1)),
        bool(call.attribute("sorted", 1)),
    )
    return values, positions


@operator("CumSum")
def accumulate(call: Call) -> Results:
    """Running sums along one axis."""
    x, axis = call.tensor(0), call.numbers(1, "an axis")[0]
    backwards = call.attribute("reverse", 0)
    x = x.flip(axis) if backwards else x
    total = torch.cumsum(x, axis)
    total = total - x if call.attribute("exclusive", 0) else total
    return total.flip(axis) if backwards else total


@operator("Trilu")
def keep_triangle(call: Call) -> Results:
    """The upper or lower triangle."""
    offset = call.numbers(1, "a diagonal")[0] if call.has(1) else 0
    keep = torch.triu if call.attribute("upper", 1) else torch.tril
    return keep(call.tensor(0), offset)


@operator("OneHot")
def mark_position(call: Call) -> Results:
    """One of two values at each place of a new axis."""
    depth = call.numbers(1, "a depth")[0]
    indices, values, axis = call.tensor(0).long(), call.tensor(2), call.attribute("axis", -1)
    places = torch.arange(depth)
    wrapped = torch.where(indices < 0, indices + depth, indices).unsqueeze(-1)
    marked = torch.where(wrapped == places, values[1], values[0])
    return marked if axis == -1 else marked.movedim(-1, axis)


@operator("NonZero")
def find_nonzero(call: Call) -> Results:
    """Positions that depend on the data, so that the result has no shape."""
    raise call.unsupported("whose output has a size that depends on the data")
