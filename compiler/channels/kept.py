"""Which positions of an axis stay, under one plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressc.array_types import BoolArray, IntArray
from compressc.channels.axes import Axis


@dataclass(frozen=True, eq=False)
class Kept:
    """A plan in the language of channel ids.

    Attributes:
        class_of: class of every id, shape (ids,).
        classes: True where the class stays, shape (classes,).
    """

    class_of: IntArray
    classes: BoolArray

    def ids(self, ids: IntArray) -> BoolArray:
        """Return which of the ids stay."""
        return self.classes[self.class_of[ids]]

    def mask(self, axis: Axis) -> BoolArray:
        """Return which positions of an axis stay, shape (size of the axis,)."""
        mask = np.ones(1, dtype=bool)
        for factor in axis:
            part = np.ones(factor.size, bool) if factor.ids is None else self.ids(factor.ids)
            mask = np.logical_and.outer(mask, part).reshape(-1)
        return mask

    def count(self, axis: Axis) -> int:
        """Return how many positions of an axis stay."""
        count = 1
        for factor in axis:
            count *= factor.size if factor.ids is None else int(self.ids(factor.ids).sum())
        return count

    def whole(self, axis: Axis) -> bool:
        """Return whether every position stays."""
        return all(f.ids is None or bool(self.ids(f.ids).all()) for f in axis)
