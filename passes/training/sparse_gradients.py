"""Zeros that are decisions stay zero while the other weights learn."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def keep_zeros(module: nn.Module, names: Iterable[str]) -> None:
    """Give the zeros of the named parameters no gradient.

    Without a gradient a zero has no momentum, and decay leaves it where it is, so it stays exactly
    zero under any of the optimizers. Clipping sees the gradients that count.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for name in names:
        parameter = parameters[name]
        learning = (parameter.detach() != 0).to(parameter.dtype)
        parameter.register_hook(learning.mul)  # type: ignore[no-untyped-call]
