"""Reductions and operations whose result depends on whole axes."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from compressc.axes import Axes, Axis, is_labelled, plain
from compressc.rules.registry import Site, Value, rule

aten = torch.ops.aten


def _dims(site: Site, rank: int) -> list[int]:
    dims = site.arg("dim")
    if dims is None:
        return list(range(rank))
    listed = dims if isinstance(dims, Iterable) else [dims]
    found = [int(dim) % rank for dim in listed]
    return found or list(range(rank))


def _reduced(x: Axes, dims: list[int], keepdim: bool) -> Axes:
    kept: list[Axis] = []
    for position, axis in enumerate(x):
        if position not in dims:
            kept.append(axis)
        elif keepdim:
            kept.append(plain(1))
    return tuple(kept)


def _reduce(site: Site, x: Axes, dims: list[int], keepdim: bool) -> Value:
    over = [x[dim] for dim in dims]
    if any(is_labelled(axis) for axis in over):
        if site.frozen_statistics:
            site.freeze_all(over, "computes statistics over these channels (strict mode)")
        else:
            site.statistics()
    axes = _reduced(x, dims, keepdim)
    plain_output = site.plain_output()
    return [axes for _ in plain_output] if isinstance(plain_output, list) else axes


@rule(
    aten.mean.dim,
    aten.sum.dim_IntList,
    aten.amax.default,
    aten.amin.default,
    aten.max.dim,
    aten.min.dim,
    aten.var.correction,
    aten.std.correction,
    aten.var.dim,
    aten.std.dim,
    aten.var_mean.correction,
    aten.std_mean.correction,
    aten.logsumexp.default,
    aten.linalg_vector_norm.default,
    aten.norm.ScalarOpt_dim,
)
def reduce(site: Site) -> Value:
    """Reductions over channels see the kept ones only."""
    x = site.axes_of(site.node.args[0])
    if x is None:
        raise TypeError(f"{site.name} reduces a value that is no tensor")
    return _reduce(site, x, _dims(site, len(x)), bool(site.arg("keepdim")))


@rule(aten.mean.default, aten.sum.default, aten.max.default, aten.min.default)
def reduce_all(site: Site) -> Value:
    """A reduction to one number."""
    x = site.axes("self")
    return _reduce(site, x, list(range(len(x))), keepdim=False)


@rule(
    aten.argmax.default,
    aten.argmin.default,
)
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
    aten.cumsum.default,
    aten.cumprod.default,
    aten.glu.default,
)
def along_axis(site: Site) -> Value:
    """Every position of the axis depends on the others: it stays whole."""
    x = site.axes("self")
    dim = site.dim("dim", len(x))
    site.freeze(x[dim], "combines all positions of this axis")
    return (*x[:dim], plain(site.shape()[dim]), *x[dim + 1 :])


@rule(aten.roll.default, aten.flip.default)
def reorder(site: Site) -> Value:
    """Positions move: the axis stays whole."""
    x = list(site.axes("self"))
    for dim in _dims_of(site):
        site.freeze(x[dim % len(x)], "moves the positions of this axis")
    return tuple(x)


def _dims_of(site: Site) -> list[int]:
    dims = site.arg("dims")
    if not dims:
        return list(range(len(site.axes("self"))))
    return [int(dim) for dim in dims]
