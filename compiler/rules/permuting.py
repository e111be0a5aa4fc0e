"""Operations that move, add or drop axes."""

from __future__ import annotations

import torch

from compressc.axes import Axis, plain, size_of
from compressc.rules.registry import Site, Value, rule

aten = torch.ops.aten


@rule(aten.permute.default)
def permute(site: Site) -> Value:
    """Axes in another order."""
    x = site.axes("self")
    return tuple(x[int(dim) % len(x)] for dim in site.arg("dims"))


@rule(aten.transpose.int, aten.transpose_.default, aten.swapaxes.default)
def transpose(site: Site) -> Value:
    """Two axes change places."""
    x = list(site.axes("self"))
    names = ("axis0", "axis1") if site.node.target is aten.swapaxes.default else ("dim0", "dim1")
    first, second = site.dim(names[0], len(x)), site.dim(names[1], len(x))
    x[first], x[second] = x[second], x[first]
    return tuple(x)


@rule(aten.t.default, aten.numpy_T.default, aten.mT.default, aten.adjoint.default)
def reverse_last(site: Site) -> Value:
    """The last two axes change places."""
    x = site.axes("self")
    return x if len(x) < 2 else (*x[:-2], x[-1], x[-2])


@rule(aten.movedim.int)
def movedim(site: Site) -> Value:
    """One axis goes to another place."""
    x = list(site.axes("self"))
    source, target = site.dim("source", len(x)), site.dim("destination", len(x))
    x.insert(target, x.pop(source))
    return tuple(x)


@rule(aten.unsqueeze.default, aten.unsqueeze_.default)
def unsqueeze(site: Site) -> Value:
    """A new axis of size 1."""
    x = site.axes("self")
    dim = site.dim("dim", len(x) + 1)
    return (*x[:dim], plain(1), *x[dim:])


@rule(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.squeeze_.dim)
def squeeze(site: Site) -> Value:
    """Axes of size 1 go; an axis of another size is never squeezed, however few channels stay."""
    x = site.axes("self")
    rank = len(x)
    chosen = range(rank)
    if site.node.target is not aten.squeeze.default:
        dims = site.arg("dim")
        listed = dims if isinstance(dims, (list, tuple)) else [dims]
        chosen = [int(dim) % rank for dim in listed]  # type: ignore[assignment]
    dropped = {dim for dim in chosen if size_of(x[dim]) == 1}
    for dim in chosen:
        if dim not in dropped:
            # Pruned down to one channel the axis would vanish.
            site.freeze(x[dim], "squeezes this axis if one channel is left")
    kept: list[Axis] = [axis for dim, axis in enumerate(x) if dim not in dropped]
    return tuple(kept)
