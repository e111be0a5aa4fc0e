"""Outputs that are no tensors: sequences and maps, taken apart into arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def flatten_output(name: str, value: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of an output, as ONNX Runtime returns it.

    A tensor stands under the name of the output, an entry of a sequence under ``NAME[0]``, one of a
    map under ``NAME[key]``; an optional value that is missing is left out.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        entries: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    else:
        return {name: np.asarray(value)}
    arrays: dict[str, NDArray[Any]] = {}
    for key, entry in entries:
        arrays.update(flatten_output(f"{name}[{key}]", entry))
    return arrays
