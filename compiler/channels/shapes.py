"""Sizes of values as plain integers.

Symbolic sizes are replaced by large primes so that shape logic needs no algebra: a prime divides
nothing but the products it is part of, so views are matched correctly for every batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

# Above any channel count; distinct symbols get distinct primes.
_PRIMES = (1_000_003, 1_000_033, 1_000_037, 1_000_039, 1_000_081, 1_000_099, 1_000_117, 1_000_121)


class Sizes:
    """Reads the sizes of a graph's values."""

    def __init__(self) -> None:
        self._symbols: dict[Any, int] = {}

    def number(self, size: int | torch.SymInt) -> int:
        """Return a size as an integer, symbols replaced by primes."""
        if isinstance(size, int):
            return size
        expression = size.node.expr
        values = {symbol: self._prime(symbol) for symbol in expression.free_symbols}
        return int(expression.subs(values))

    def _prime(self, symbol: Any) -> int:
        if symbol not in self._symbols:
            self._symbols[symbol] = _PRIMES[len(self._symbols) % len(_PRIMES)]
        return self._symbols[symbol]

    def shape(self, value: Tensor) -> tuple[int, ...]:
        """Return the shape of a fake tensor with symbols replaced by primes."""
        return tuple(self.number(size) for size in value.shape)


def hint(size: int | torch.SymInt) -> int:
    """Return the size that the example inputs gave, 1 for one that depends on the data."""
    if isinstance(size, int):
        return size
    known = size.node.hint
    return 1 if known is None else int(known)


def hinted_shape(value: Tensor) -> tuple[int, ...]:
    """Return the shape that the example inputs gave."""
    return tuple(hint(size) for size in value.shape)


def value_of(node: fx.Node) -> Any:
    """Return the fake value recorded at capture."""
    return node.meta.get("val")


def is_symbolic(entry: object) -> bool:
    """Return whether a size argument is computed in the graph instead of baked in."""
    return isinstance(entry, (fx.Node, torch.SymInt))


def has_symbol(sizes: Sequence[object]) -> bool:
    """Return whether any size argument is computed in the graph."""
    return any(is_symbolic(entry) for entry in sizes)
