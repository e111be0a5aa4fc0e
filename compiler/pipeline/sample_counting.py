"""Counting the samples that a module is judged on, so that people see that it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from compressc.clock import tell


@contextmanager
def telling_samples(module: nn.Module) -> Iterator[None]:
    """Tell after every batch how many samples a module has seen inside the block."""
    seen = 0

    def count(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal seen
        seen += next((len(x) for x in inputs if isinstance(x, Tensor) and x.dim()), 0)
        tell(f"{seen} samples")

    with module.register_forward_pre_hook(count):
        yield
