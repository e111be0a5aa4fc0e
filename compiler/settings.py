"""Settings: how a result is exported and measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How to export and measure; the part of a run that decides nothing.

    Attributes:
        storage: "dense", or "compact" for the smallest file with the same outputs.
        measure: whether to time the original and the compressed file.
        threads, batch: how to time them.
        seconds: for how long, both files together.
    """

    storage: str = "dense"
    measure: bool = True
    threads: int = 1
    batch: int = 1
    seconds: float = 6.0
