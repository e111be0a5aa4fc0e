"""The replay queue: what self-plays showed, the oldest leaving first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressc.array_types import Array, BoolArray


@dataclass(frozen=True, eq=False)
class Lesson:
    """One tuple (s, pi, v).

    Attributes:
        kept: units that were left, shape (units,).
        legal: units that could be named, shape (units,).
        guide: logits added to the policy's, shape (units,), float32.
        shares: pi, shape (units,), float32.
        worth: v_t, of the end of the game: 1 where it beat the baseline, else -1.
        sheet: which features belong to the state: 0 for those of the original, one more after
            every training of the network between segments.
    """

    kept: BoolArray
    legal: BoolArray
    guide: Array
    shares: Array
    worth: float
    sheet: int


class Replay:
    """A queue of lessons.

    Attributes:
        lessons: oldest first.

    Args:
        most: how many are remembered.
    """

    def __init__(self, most: int) -> None:
        self.lessons: deque[Lesson] = deque(maxlen=most)

    def add(self, lessons: Iterable[Lesson]) -> None:
        """Remember lessons, and forget the oldest beyond the limit."""
        self.lessons.extend(lessons)

    def pack(self) -> dict[str, Any]:
        """Return the queue as tensors."""
        if not self.lessons:
            return {}
        return {
            "kept": _stack([lesson.kept for lesson in self.lessons]),
            "legal": _stack([lesson.legal for lesson in self.lessons]),
            "guide": _stack([lesson.guide for lesson in self.lessons]),
            "shares": _stack([lesson.shares for lesson in self.lessons]),
            "worth": [lesson.worth for lesson in self.lessons],
            "sheet": [lesson.sheet for lesson in self.lessons],
        }

    def unpack(self, packed: dict[str, Any]) -> None:
        """Take over what :meth:`pack` returned."""
        self.lessons.clear()
        if not packed:
            return
        names = ("kept", "legal", "guide", "shares", "worth", "sheet")
        columns = [packed[name] for name in names]
        for kept, legal, guide, shares, worth, sheet in zip(*columns, strict=True):
            arrays = (kept.numpy(), legal.numpy(), guide.numpy(), shares.numpy())
            self.lessons.append(Lesson(*arrays, float(worth), int(sheet)))


def _stack(rows: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack(rows))
