"""Known: a value of the ONNX graph whose numbers are known while the graph is traced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Known:
    """Numbers that do not depend on what the network is fed, except through its shape.

    Attributes:
        numbers: of any rank. An object array holds sizes that are not fixed, such as the batch, as
            ``torch.SymInt`` beside plain integers.
        dtype: of the ONNX value.
        stored: the same numbers as a parameter or buffer, where the file stores them.
    """

    numbers: NDArray[Any]
    dtype: np.dtype[Any]
    stored: Tensor | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether no number depends on the shape of an input."""
        return self.numbers.dtype != object

    def tensor(self) -> Tensor:
        """Return the numbers as a tensor."""
        if self.stored is not None:
            return self.stored
        kind = torch.from_numpy(np.empty(0, dtype=self.dtype)).dtype
        if self.numbers.size == 1:
            return torch.full(self.numbers.shape, self.numbers.reshape(-1)[0], dtype=kind)
        if self.is_fixed:
            return torch.from_numpy(np.require(self.numbers, requirements=["C", "W"]))
        each = [torch.full((), entry, dtype=kind) for entry in self.numbers.reshape(-1)]
        return torch.stack(each).reshape(self.numbers.shape)


def know(numbers: Any, dtype: Any) -> Known:
    """Return the known value of some numbers; fixed ones lose their object type."""
    array = np.asarray(numbers, dtype=object)
    if not any(is_symbol(entry) for entry in array.reshape(-1)):
        array = array.astype(dtype)
    return Known(array, np.dtype(dtype))


def is_symbol(entry: object) -> bool:
    """Return whether a number stands for a size that is not fixed."""
    return isinstance(entry, (torch.SymInt, torch.SymFloat, torch.SymBool))
