"""Channel ids: what an axis of a value is made of.

An axis is a tuple of factors in row-major order. A factor with ``ids`` can be pruned, one without
(batch, space, tokens) cannot. Ids that must live or die together are joined in an
:class:`IdSpace`; one call of :meth:`IdSpace.solve` turns them into classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from compressc.array_types import IntArray


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor of an axis: its size, and the channel id of each position or None.

    ``origin`` says of a factor without ids what it counts, where that is known.
    """

    size: int
    ids: IntArray | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        if self.ids is not None and self.ids.shape != (self.size,):
            raise ValueError(f"factor of size {self.size} with ids of shape {self.ids.shape}")


_PLAIN = "{where} couples these channels with {what}"

Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]


def plain(size: int, origin: str = "") -> Axis:
    """Return an axis that cannot be pruned; ``origin`` is what it counts, as users read it."""
    return (Factor(size, None, origin),)


def labelled(ids: IntArray) -> Axis:
    """Return an axis whose positions carry the given channel ids; size 1 is never labelled."""
    return (Factor(len(ids), ids if len(ids) > 1 else None),)


def exactly(ids: IntArray) -> Axis:
    """Return an axis with these ids even if there is only one."""
    return (Factor(len(ids), ids),)


def size_of(axis: Axis) -> int:
    """Return the number of positions of an axis."""
    return prod(factor.size for factor in axis)


def is_labelled(axis: Axis) -> bool:
    """Return whether any factor of the axis can be pruned."""
    return any(factor.ids is not None for factor in axis)


def spread(factors: Axis, index: int) -> IntArray:
    """Return, for every position of the axis, the id that factor ``index`` gives it.

    Shape: (product of the factor sizes,).
    """
    ids = factors[index].ids
    if ids is None:
        raise ValueError("the factor carries no ids")
    outer = prod(f.size for f in factors[:index])
    inner = prod(f.size for f in factors[index + 1 :])
    return np.tile(np.repeat(ids, inner), outer)


@dataclass
class Solution:
    """Ids after joining: the class of every id, and why a class is frozen.

    Attributes:
        class_of: class of every id, shape (ids,).
        reason_of: per class, an index into ``reasons``, or -1 where the class is free.
        reasons: the texts.
    """

    class_of: IntArray
    reason_of: IntArray
    reasons: tuple[str, ...]


@dataclass
class IdSpace:
    """Hands out channel ids and records which of them share a fate."""

    count: int = 0
    _pairs: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    _frozen: list[tuple[IntArray, int]] = field(default_factory=list)
    _reasons: dict[str, int] = field(default_factory=dict)

    def fresh(self, size: int) -> IntArray:
        """Return ``size`` ids that nothing is coupled to yet."""
        ids = np.arange(self.count, self.count + size, dtype=np.int64)
        self.count += size
        return ids

    def join(self, left: IntArray, right: IntArray) -> None:
        """Make ``left[i]`` and ``right[i]`` leave together, for every i."""
        if left.shape != right.shape:
            raise ValueError(f"cannot join {left.shape} ids with {right.shape}")
        if left is not right:
            self._pairs.append((left, right))

    def freeze(self, ids: IntArray, reason: str) -> None:
        """Pin ids; ``reason`` is what the user reads."""
        self._frozen.append((ids, self._reasons.setdefault(reason, len(self._reasons))))

    def freeze_axis(self, axis: Axis, reason: str) -> None:
        """Pin every labelled factor of an axis."""
        for factor in axis:
            if factor.ids is not None:
                self.freeze(factor.ids, reason)

    def flat(self, axis: Axis, reason: str) -> IntArray | None:
        """Return one id per position of the axis, or None where nothing is labelled.

        Where two factors are labelled a position dies with either of them, which one id cannot
        say: all but the longest factor are pinned for ``reason``.
        """
        marked = [i for i, factor in enumerate(axis) if factor.ids is not None]
        if not marked:
            return None
        best = max(marked, key=lambda i: axis[i].size)
        for i in marked:
            if i != best:
                self.freeze(_ids(axis[i]), reason)
        return spread(axis, best)

    def solve(self) -> Solution:
        """Join everything recorded so far, in time linear in the number of pairs."""
        if self._pairs:
            rows = np.concatenate([left for left, _ in self._pairs])
            columns = np.concatenate([right for _, right in self._pairs])
        else:
            rows = columns = np.zeros(0, dtype=np.int64)
        graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), (self.count,) * 2)
        classes, class_of = connected_components(graph, directed=False)
        reason_of = np.full(classes, len(self._reasons), dtype=np.int64)
        for ids, reason in self._frozen:
            np.minimum.at(reason_of, class_of[ids], reason)
        reason_of[reason_of == len(self._reasons)] = -1
        return Solution(class_of.astype(np.int64), reason_of, tuple(self._reasons))


def _ids(factor: Factor) -> IntArray:
    if factor.ids is None:
        raise ValueError("the factor carries no ids")
    return factor.ids


def join_axes(space: IdSpace, left: Axis, right: Axis, where: str) -> Axis:
    """Couple two axes of equal size position by position; return the coupled axis."""
    if not is_labelled(left) or not is_labelled(right):
        reason = _PLAIN.format(where=where, what=_unlabelled(left, right))
        space.freeze_axis(left, reason)
        space.freeze_axis(right, reason)
        return left if len(left) >= len(right) else right
    if [f.size for f in left] == [f.size for f in right]:
        joined: list[Factor] = []
        for a, b in zip(left, right, strict=True):
            if a.ids is not None and b.ids is not None:
                space.join(a.ids, b.ids)
            elif a.ids is not None or b.ids is not None:
                # One side calls this factor plain: it can only stay whole.
                reason = _PLAIN.format(where=where, what=_unlabelled((a,), (b,)))
                space.freeze_axis((a, b), reason)
            joined.append(a if a.ids is not None else b)
        return tuple(joined)
    reason = f"{where} meets two ways of splitting the same axis"
    flat_left, flat_right = space.flat(left, reason), space.flat(right, reason)
    if flat_left is not None and flat_right is not None:
        space.join(flat_left, flat_right)
    return left if len(left) >= len(right) else right


def _unlabelled(left: Axis, right: Axis) -> str:
    """Say what an axis counts that cannot be pruned, by the first of its factors that tells."""
    axis = left if not is_labelled(left) else right
    origin = next((factor.origin for factor in axis if factor.origin), "")
    return origin or f"an axis of size {size_of(axis)} that cannot be pruned"


def concatenate(space: IdSpace, parts: Sequence[Axis], where: str) -> Axis:
    """Return the axis of a concatenation; plain parts beside labelled ones become pinned ids."""
    if len(parts) == 1:
        return parts[0]
    if not any(is_labelled(part) for part in parts):
        return plain(sum(size_of(part) for part in parts))
    pieces: list[IntArray] = []
    for part in parts:
        ids = space.flat(part, f"{where} concatenates an axis with two prunable factors")
        if ids is None:
            ids = space.fresh(size_of(part))
            space.freeze(ids, f"{where} concatenates channels that cannot be pruned")
        pieces.append(ids)
    return labelled(np.concatenate(pieces))
