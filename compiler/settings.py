"""Settings: how a result is exported and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Int8:
    """How to quantise the result: unsigned bytes for activations, signed ones for weights.

    Attributes:
        samples: an ``.npz`` with real inputs to calibrate on, one array per input (or one array
            for a single input), samples on the first axis; None for those of the task.
        count: how many samples to calibrate on, at most; a quarter as many more judge the drift.
        force: whether to go on where the machine has no instructions that make int8 fast.
    """

    samples: str | Path | None = None
    count: int = 256
    force: bool = False


@dataclass(frozen=True)
class Settings:
    """How to export and measure; decides nothing, unless the goal bounds the latency.

    Attributes:
        storage: "dense", or "compact" for the smallest file with the same outputs.
        measure: whether to time the original and the compressed file.
        threads, batch: how to time them.
        seconds: for how long, all files together.
        int8: how to quantise the ONNX file; None for float32.
        cost_table: file from ``compressc profile --cost-table`` of the device that a latency goal
            is meant for; None for this machine.
    """

    storage: str = "dense"
    measure: bool = True
    threads: int = 1
    batch: int = 1
    seconds: float = 6.0
    int8: Int8 | None = None
    cost_table: str | Path | None = None
