"""Randomness: everything random in an epoch comes from the seed and the epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(device: torch.device, *numbers: int) -> Iterator[None]:
    """Seed torch, numpy and Python from ``numbers`` for a block; their states come back after.

    Args:
        device: the one in use, whose generator is seeded too.
        numbers: non-negative.
    """
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
