"""What was decomposed already, by the content of the weight.

A search asks for the same weight at many ranks, a proof for the same weight twice. The results
depend on nothing but the content, so remembering them changes no answer.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

Tensors = tuple[Tensor, ...]


def content_digest(tensor: Tensor) -> str:
    """Return a digest of the values, the shape and the type of a CPU tensor."""
    sha = hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    sha.update(tensor.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()


class FactorMemo:
    """The latest results by key, as many as fit; threads may share it.

    Args:
        size_bytes: how much the results may take together; the oldest leave first.
    """

    def __init__(self, size_bytes: int) -> None:
        self._limit = size_bytes
        self._used = 0
        self._found: OrderedDict[Hashable, Tensors] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], Tensors]) -> Tensors:
        """Return the result of a key, computed on first use; callers must not change it."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        made = compute()
        with self._lock:
            if key not in self._found:
                self._found[key] = made
                self._used += _size_bytes(made)
            while self._used > self._limit and len(self._found) > 1:
                self._used -= _size_bytes(self._found.popitem(last=False)[1])
        return made


def _size_bytes(tensors: Tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
