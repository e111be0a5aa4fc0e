"""Joining the axes of operands that are broadcast against each other."""

from __future__ import annotations

from collections.abc import Sequence

from compressc.channels.axes import Axes, Axis, join_axes, plain, size_of
from compressc.rules.site import Site


def broadcast(site: Site, operands: Sequence[Axes]) -> Axes:
    """Join axes right-aligned; an axis of size 1 joins nothing.

    Returns:
        The axes of the result.
    """
    rank = max(len(axes) for axes in operands)
    result: list[Axis] = []
    for position in range(rank):
        axis: Axis = plain(1)
        for axes in operands:
            offset = position - (rank - len(axes))
            if offset < 0 or size_of(axes[offset]) == 1:
                continue
            if size_of(axis) == 1:
                axis = axes[offset]
            else:
                axis = join_axes(site.space, axis, axes[offset], site.name)
        result.append(axis)
    return tuple(result)
