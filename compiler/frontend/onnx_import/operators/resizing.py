"""Resizing, sampling on a grid, and regions of interest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional as F

from compressc.frontend.onnx_import.call import Call, Results, positive_axes
from compressc.frontend.onnx_import.known import is_symbol
from compressc.frontend.onnx_import.registry import operator

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@operator("Upsample")
def upsample(call: Call) -> Results:
    """Resize of operator sets before 10: nearest or linear from the corner."""
    x, scales = call.tensor(0), call.setting("scales", 1)
    mode = call.attribute("mode", "nearest")
    sizes = [_scaled(size, scale) for size, scale in zip(x.shape, scales, strict=True)]
    return _resize(call, x, sizes, scales, mode, "asymmetric", "floor")


@operator("Resize")
def resize(call: Call) -> Results:
    """By factors or to sizes, with the coordinates that the file asks for."""
    x = call.tensor(0)
    if call.node.version < 11:
        scales = call.numbers(1, "scales")
        sizes = [_scaled(size, scale) for size, scale in zip(x.shape, scales, strict=True)]
        return _resize(
            call, x, sizes, scales, call.attribute("mode", "nearest"), "asymmetric", "floor"
        )
    if call.attribute("antialias", 0):
        raise call.unsupported("with antialiasing")
    axes = positive_axes(call.attribute("axes", list(range(x.dim()))), x.dim())
    scales = list[Any]([1.0] * x.dim())
    sizes = list(x.shape)
    given = call.numbers(2, "scales") if call.has(2) else []
    if given:
        for axis, scale in zip(axes, given, strict=True):
            scales[axis], sizes[axis] = scale, _scaled(x.shape[axis], scale)
    else:
        if call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise call.unsupported("that keeps the aspect ratio")
        for axis, size in zip(axes, call.numbers(3, "sizes"), strict=True):
            sizes[axis] = size
            scales[axis] = None
    return _resize(
        call,
        x,
        sizes,
        scales,
        call.attribute("mode", "nearest"),
        call.attribute("coordinate_transformation_mode", "half_pixel"),
        call.attribute("nearest_mode", "round_prefer_floor"),
    )


def _scaled(size: Any, scale: float) -> Any:
    if float(scale).is_integer():
        return size * int(scale)
    if is_symbol(size):
        return torch.sym_int(size * scale)  # type: ignore[no-untyped-call]
    return int(np.floor(size * scale))


def _resize(
    call: Call,
    x: Tensor,
    sizes: Sequence[Any],
    scales: Sequence[Any],
    mode: str,
    coordinates: str,
    rounding: str,
) -> Tensor:
    touched = [a for a in range(x.dim()) if _differs(x.shape[a], sizes[a], scales[a])]
    if not touched:
        return x
    space = x.dim() - 2
    if min(touched) >= 2 and space in _LINEAR:
        result = _interpolate(x, sizes, scales, mode, coordinates, rounding)
        if result is not None:
            return result
    for axis in touched:
        if is_symbol(x.shape[axis]) or is_symbol(sizes[axis]):
            raise call.unsupported("of an axis whose size is not fixed, with these coordinates")
        x = _resize_axis(call, x, axis, sizes[axis], scales[axis], mode, coordinates, rounding)
    return x


def _differs(size: Any, target: Any, scale: float | None) -> bool:
    """Return whether an axis is resized; one that is not fixed may be the batch, which stays."""
    if scale is not None:
        return float(scale) != 1.0
    return not statically_known_true(size == target)


def _interpolate(
    x: Tensor,
    sizes: Sequence[Any],
    scales: Sequence[Any],
    mode: str,
    coordinates: str,
    rounding: str,
) -> Tensor | None:
    """Return what torch's own interpolation makes of it, None where that is something else."""
    target = tuple(sizes[2:])
    whole = all(s is not None and float(s).is_integer() for s in scales[2:])
    if mode == "nearest":
        # Of whole factors, every way to round comes to the same pixel, counted from the corner.
        plain = coordinates == "asymmetric" and rounding == "floor"
        centred = coordinates == "half_pixel" and whole and rounding.startswith("round_prefer")
        if plain or centred:
            return F.interpolate(x, size=target, mode="nearest")
        return None
    if mode == "linear" and coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        if coordinates == "half_pixel" and not all(s is None or s >= 1 for s in scales[2:]):
            return None
        corners = coordinates == "align_corners"
        if not corners and not whole and any(s is not None for s in scales[2:]):
            factors = tuple(float(s) for s in scales[2:])
            return F.interpolate(x, scale_factor=factors, mode=_LINEAR[x.dim() - 2])
        return F.interpolate(x, size=target, mode=_LINEAR[x.dim() - 2], align_corners=corners)
    return None


def _resize_axis(
    call: Call,
    x: Tensor,
    axis: int,
    target: int,
    scale: float | None,
    mode: str,
    coordinates: str,
    rounding: str,
) -> Tensor:
    """Resize one axis by a table of positions and weights.

    Source:
        ONNX's definition of Resize.
    """
    size = int(x.shape[axis])
    factor = target / size if scale is None else float(scale)
    places = _places(call, np.arange(target, dtype=np.float64), size, target, factor, coordinates)
    if mode == "nearest":
        return _pick(x, axis, _rounded(places, rounding), size)
    if mode != "linear":
        raise call.unsupported(f"by mode={mode}")
    below = np.floor(places)
    share = torch.from_numpy((places - below).astype(np.float32)).to(x.dtype)
    shape = [1] * x.dim()
    shape[axis] = target
    share = share.reshape(shape)
    low, high = _pick(x, axis, below, size), _pick(x, axis, below + 1, size)
    return low * (1 - share) + high * share


def _pick(x: Tensor, axis: int, places: NDArray[np.float64], size: int) -> Tensor:
    index = torch.from_numpy(np.clip(places, 0, size - 1).astype(np.int64))
    return torch.index_select(x, axis, index)


def _rounded(places: NDArray[np.float64], rounding: str) -> NDArray[np.float64]:
    if rounding == "floor":
        return np.floor(places)
    if rounding == "ceil":
        return np.ceil(places)
    if rounding == "round_prefer_ceil":
        return np.floor(places + 0.5)
    return np.ceil(places - 0.5)


def _places(
    call: Call,
    index: NDArray[np.float64],
    size: int,
    target: int,
    factor: float,
    coordinates: str,
) -> NDArray[np.float64]:
    """Return where in the input each position of the output lies."""
    if coordinates == "asymmetric":
        return index / factor
    if coordinates == "half_pixel":
        return (index + 0.5) / factor - 0.5
    if coordinates == "pytorch_half_pixel":
        return (index + 0.5) / factor - 0.5 if target > 1 else np.zeros_like(index)
    if coordinates == "align_corners":
        return index * (size - 1) / (target - 1) if target > 1 else np.zeros_like(index)
    raise call.unsupported(f"with coordinates {coordinates}")


@operator("GridSample")
def sample_grid(call: Call) -> Results:
    """Values at given places."""
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(
        call.attribute("mode", "bilinear"), call.attribute("mode", "bilinear")
    )
    return F.grid_sample(
        call.tensor(0),
        call.tensor(1),
        mode=mode,
        padding_mode=call.attribute("padding_mode", "zeros"),
        align_corners=bool(call.attribute("align_corners", 0)),
    )
