"""Operations that move, add or drop axes."""

from __future__ import annotations

import torch

from compressc.channels.axes import is_labelled, plain, size_of
from compressc.channels.edits import SetSqueezed
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value

aten = torch.ops.aten


@rule(aten.permute.default)
def permute(site: Site) -> Value:
    """Axes in another order."""
    x = site.axes("self")
    return tuple(x[int(dim) % len(x)] for dim in site.arg("dims"))


@rule(
    aten.transpose.int,
    aten.transpose_.default,
    aten.swapaxes.default,
    aten.swapdims.default,
)
def transpose(site: Site) -> Value:
    """Two axes change places."""
    x = list(site.axes("self"))
    names = ("axis0", "axis1") if site.node.target is aten.swapaxes.default else ("dim0", "dim1")
    if not x:
        return ()
    first, second = site.dim(names[0], len(x)), site.dim(names[1], len(x))
    x[first], x[second] = x[second], x[first]
    return tuple(x)


@rule(aten.t.default, aten.mT.default, aten.adjoint.default)
def reverse_last(site: Site) -> Value:
    """The last two axes change places."""
    x = site.axes("self")
    return x if len(x) < 2 else (*x[:-2], x[-1], x[-2])


@rule(aten.numpy_T.default)
def reverse_all(site: Site) -> Value:
    """All axes in reverse order."""
    return tuple(reversed(site.axes("self")))


@rule(aten.movedim.int, aten.movedim.intlist, aten.moveaxis.int, aten.moveaxis.intlist)
def movedim(site: Site) -> Value:
    """Axes go to other places; those left over keep their order."""
    x = site.axes("self")
    sources, targets = site.arg("source"), site.arg("destination")
    if isinstance(sources, int):
        sources, targets = [sources], [targets]
    moved = {int(t) % len(x): int(s) % len(x) for s, t in zip(sources, targets, strict=True)}
    rest = iter([index for index in range(len(x)) if index not in moved.values()])
    return tuple(x[moved[place] if place in moved else next(rest)] for place in range(len(x)))


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
    dropped = [dim for dim in chosen if size_of(x[dim]) == 1]
    if any(is_labelled(x[dim]) for dim in chosen):
        # Pruned down to one channel an axis would vanish; lowering names the axes that really go.
        site.edit(SetSqueezed(site.node.name, tuple(dropped)))
    return tuple(axis for dim, axis in enumerate(x) if dim not in dropped)
