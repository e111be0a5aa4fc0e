"""The job: what is asked for of an ONNX file that is taken whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from compressc.contract.weight_choice import KeepsWeights
from compressc.errors import ConversionError
from compressc.frontend.input_shape import Shape
from compressc.settings import Settings
from compressc.target import Target

_AS_IT_IS = "only --sparsity and --int8 work on the file as it is"


@dataclass(frozen=True, eq=False)
class FileJob:
    """What is asked for.

    Attributes:
        model: the file, with its weights inside.
        name: what to call it in the report.
        reason: why its network cannot be converted, and so nothing can leave it.
        passes: what zeros weights, in order.
        keep: patterns of layers whose weights all stay.
        samples: an ``.npz`` of real inputs to compare on, and to calibrate int8 on where its
            settings name none; None for made-up ones.
        shapes: of one example of each input, without the batch, where the file leaves sizes open.
        target: where and how the result will be run.
        settings: storage, precision, and whether and how long to measure.
        seed: of made-up inputs, and of the choice of samples.
    """

    model: onnx.ModelProto
    name: str
    reason: str
    passes: tuple[KeepsWeights, ...] = ()
    keep: tuple[str, ...] = ()
    samples: Path | None = None
    shapes: Sequence[Shape] | None = None
    target: Target = field(default_factory=Target)
    settings: Settings = field(default_factory=Settings)
    seed: int = 0


def check_fits_file(reason: ConversionError, asked: Sequence[tuple[str, bool]]) -> None:
    """Refuse what needs the network of a file that cannot be converted.

    Args:
        reason: why it cannot.
        asked: per option whether it was given.

    Raises:
        ConversionError: the same, with the first option that needs the network.
    """
    for option, given in asked:
        if given:
            raise ConversionError(f"{reason}; {option} needs that: {_AS_IT_IS}") from reason
