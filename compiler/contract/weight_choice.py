"""What a pass can decide by the sizes of weights alone, without the network around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from compressc.array_types import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class WeightChoice:
    """Which weights stay.

    Attributes:
        keep: per tensor that was decided on, flat: which elements stay.
        notes: what the user should know of it.
    """

    keep: Mapping[str, BoolArray]
    notes: tuple[str, ...] = ()


@runtime_checkable
class KeepsWeights(Protocol):
    """A pass that zeros weights by their sizes, so that it serves files without a Program too."""

    name: str

    def keep_weights(self, sizes: Mapping[str, FloatArray]) -> WeightChoice:
        """Return which weights stay.

        Args:
            sizes: magnitudes by tensor, flat, in the order in which the network reads them. A
                tensor is called ``LAYER.weight``.
        """
        ...
