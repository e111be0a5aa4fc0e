"""Which positions of an axis stay, under one plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressc.coupling.axes import Axis, IntArray


@dataclass(frozen=True, eq=False)
class Kept:
    """A plan in the language of channel ids.

    Attributes:
        class_of: class of every id, shape (ids,).
        classes: True where the class stays, shape (classes,).
    """

    class_of: IntArray
    classes: NDArray[np.bool_]

    def ids(self, ids: IntArray) -> NDArray[np.bool_]:
        """Return which of the ids stay."""
        return self.classes[self.class_of[ids]]

    def mask(self, axis: Axis) -> NDArray[np.bool_]:
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
