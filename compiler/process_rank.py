"""Which of several processes this is, by what their launcher put into the environment."""

from __future__ import annotations

import os

# Of torchrun and accelerate, and of the MPI implementations that accelerate knows.
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def process_rank() -> int:
    """Return the number of this process among those that were launched together, 0 if alone."""
    return _read(_RANKS, 0) if process_count() > 1 else 0


def process_count() -> int:
    """Return how many processes were launched together, 1 if this is the only one."""
    return max(1, _read(_COUNTS, 1))


def _read(names: tuple[str, ...], default: int) -> int:
    for name in names:
        text = os.environ.get(name, "")
        if text.isdecimal():
            return int(text)
    return default
