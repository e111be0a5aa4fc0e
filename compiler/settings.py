"""Settings: in which form a result is written, and whether it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compressc.errors import GoalError


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
class Repair:
    """How a result is kept alive: what stands in for data, and how long it may take.

    Attributes:
        synthetic: when inputs are made from the network itself. "auto": where there is no task and
            the recipe is left to compressc; "always": where there is no task; "never".
        seconds: how long making them and the gradient steps of the default recipe may take, about;
            least squares in between take what they take. None for five minutes of making, which
            few networks need, and all steps.
    """

    synthetic: Literal["auto", "always", "never"] = "auto"
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise GoalError(
                f"repair seconds {self.seconds:g}: must be above 0; no repair at all is "
                "--no-repair, or repair=False in Python"
            )


@dataclass(frozen=True)
class Settings:
    """In which form to write the result, and how to measure it; decides nothing.

    Attributes:
        storage: "dense", or "compact" for the smallest file with the same outputs.
        measure: whether to time the original and the compressed file.
        seconds: for how long, all files together.
        int8: how to quantise the ONNX file; None for float32.
    """

    storage: str = "dense"
    measure: bool = True
    seconds: float = 6.0
    int8: Int8 | None = None
