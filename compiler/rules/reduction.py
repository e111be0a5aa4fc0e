"""Reductions and operations whose result depends on whole axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from compressc.channels.axes import Axes, Axis, exactly, is_labelled, plain
from compressc.operators import argument_of
from compressc.rules.broadcasting import broadcast
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value
from compressc.rules.targets import overloads

aten = torch.ops.aten


def _dims(site: Site, rank: int) -> list[int]:
    dims = site.arg("dim")
    if dims is None:
        return list(range(rank))
    listed = dims if isinstance(dims, Iterable) else [dims]
    numbers = [int(dim) % rank for dim in listed] if rank else []
    return numbers or list(range(rank))


def over_kept(site: Site, axes: Sequence[Axis]) -> None:
    """Say that the node reads these axes as a whole: it sees the kept channels only.

    In strict mode they are pinned instead.
    """
    if any(is_labelled(axis) for axis in axes):
        if site.frozen_statistics:
            site.freeze_all(axes, "computes statistics over these channels (strict mode)")
        else:
            site.statistics()


def _reduced(x: Axes, dims: Sequence[int], keepdim: bool) -> Axes:
    kept: list[Axis] = []
    for position, axis in enumerate(x):
        if position not in dims:
            kept.append(axis)
        elif keepdim:
            kept.append(plain(1))
    return tuple(kept)


def _repeated(site: Site, axes: Axes) -> Value:
    output = site.plain_output()
    return [axes for _ in output] if isinstance(output, list) else axes


def _self_axes(site: Site) -> Axes:
    x = site.axes_of(site.node.args[0])
    if x is None:
        raise TypeError("it reduces a value that is no tensor")
    return x


@rule(
    *overloads("mean", "dim"),
    *overloads("sum", "dim_IntList"),
    *overloads("prod", "dim_int"),
    *overloads("nansum", "default"),
    *overloads("amax amin aminmax logsumexp linalg_vector_norm", "default"),
    *overloads("any all", "dim dims"),
    *overloads("var std var_mean std_mean", "dim correction"),
    *overloads("norm", "ScalarOpt_dim ScalarOpt_dim_dtype"),
    *overloads("count_nonzero", "dim_IntList"),
)
def reduce(site: Site) -> Value:
    """Reductions over channels see the kept ones only."""
    x = _self_axes(site)
    dims = _dims(site, len(x))
    over_kept(site, [x[dim] for dim in dims])
    keepdim = bool(argument_of(site.node, "keepdim"))
    return _repeated(site, _reduced(x, dims, keepdim))


@rule(*overloads("mean sum max min prod any all std var std_mean var_mean norm", "default Scalar"))
def reduce_all(site: Site) -> Value:
    """A reduction to one number."""
    x = _self_axes(site)
    over_kept(site, x)
    return _repeated(site, ())


@rule(*overloads("max min median nanmedian mode", "dim"), *overloads("kthvalue", "default"))
def extreme(site: Site) -> Value:
    """The extreme of the kept channels; its position means nothing once channels leave."""
    x = _self_axes(site)
    dims = _dims(site, len(x))
    reads_position = any(user.args[1] == 1 and user.users for user in site.node.users)
    if reads_position or site.node.target not in (aten.max.dim, aten.min.dim):
        site.freeze_all([x[dim] for dim in dims], "returns a position on this axis")
    over_kept(site, [x[dim] for dim in dims])
    return _repeated(site, _reduced(x, dims, bool(site.arg("keepdim"))))


@rule(aten.argmax.default, aten.argmin.default)
def locate(site: Site) -> Value:
    """The position of an extreme is meaningless once positions leave: those axes stay whole."""
    x = site.axes("self")
    dims = _dims(site, len(x))
    site.freeze_all([x[dim] for dim in dims], "returns a position on this axis")
    return _reduced(x, dims, bool(site.arg("keepdim")))


@rule(
    aten.softmax.int,
    aten._softmax.default,
    aten.log_softmax.int,
    aten._log_softmax.default,
)
def softmax(site: Site) -> Value:
    """A softmax over channels runs over the kept ones."""
    x = site.axes("self")
    over_kept(site, [x[site.dim("dim", len(x))]])
    return x


@rule(*overloads("cumsum cumprod logcumsumexp argsort", "default stable"))
def along_axis(site: Site) -> Value:
    """Every position of the axis depends on the others: it stays whole."""
    x = site.axes("self")
    dim = site.dim("dim", len(x))
    site.freeze(x[dim], "combines all positions of this axis")
    return x


@rule(aten.glu.default)
def gated_linear_unit(site: Site) -> Value:
    """The two halves of the axis leave together, position by position."""
    x = site.axes("self")
    dim = site.dim("dim", len(x))
    ids = site.flat(x[dim])
    half = plain(site.shape()[dim])
    if ids is not None:
        first, second = np.split(ids, 2)
        site.space.join(first, second)
        half = exactly(first)
    return (*x[:dim], half, *x[dim + 1 :])


@rule(*overloads("tril triu", "default"))
def triangle(site: Site) -> Value:
    """Depends on the places in the last two axes."""
    x = site.axes("self")
    site.freeze_all(x[-2:], "cuts a triangle out of these axes")
    return x


def _transform_targets() -> tuple[Any, ...]:
    names = "fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2"
    return overloads(f"{names} fft_fftn fft_ifftn fft_rfftn fft_irfftn fft_fftshift", "default")


@rule(*_transform_targets())
def fourier(site: Site) -> Value:
    """Transformed axes stay whole; the others pass."""
    x = _self_axes(site)
    listed = site.arg("dim")
    dims = range(len(x)) if listed is None else listed
    dims = [dims] if isinstance(dims, int) else dims
    chosen = {int(dim) % len(x) for dim in dims}
    site.freeze_all([x[dim] for dim in chosen], "is a Fourier transform along this axis")
    shape = site.shape()
    return tuple(plain(shape[i]) if i in chosen else axis for i, axis in enumerate(x))


@rule(aten.cosine_similarity.default)
def similarity(site: Site) -> Value:
    """Cosine over one axis of two values, of the kept channels."""
    joined = broadcast(site, [site.axes("x1"), site.axes("x2")])
    dim = site.dim("dim", len(joined))
    over_kept(site, [joined[dim]])
    return _reduced(joined, [dim], False)
