"""The inputs on which a sweep measures how far outputs drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx
from numpy.typing import NDArray

from compressc.dynamic_axes import list_axis_sizes
from compressc.program import Program
from compressc.runtime.inputs import make_inputs
from compressc.runtime.session import create_session
from compressc.settings import Int8, Settings
from compressc.tasks.calibration_samples import draw_samples
from compressc.tasks.capabilities import GivesSamples
from compressc.tasks.protocol import Scored

_COUNT = 64
_NOISE_BATCH = 16


@dataclass(frozen=True, eq=False)
class DriftInputs:
    """Batches and where they come from."""

    feeds: tuple[Mapping[str, NDArray[Any]], ...]
    source: str


def drift_inputs(
    program: Program, model: onnx.ModelProto, task: Scored | None, settings: Settings, seed: int
) -> DriftInputs:
    """Return real inputs where there are any: stored samples, those of the task, else noise.

    Args:
        program: the original.
        model: its ONNX export.
        task: may give calibration samples.
        settings: may name stored samples.
        seed: of the choice, or of the noise.

    Raises:
        DataError: if samples do not fit the model.
    """
    asked = replace(settings.int8 or Int8(), count=_COUNT)
    if asked.samples is not None or isinstance(task, GivesSamples):
        samples = draw_samples(program, asked, task, seed)
        return DriftInputs(samples.calibration, samples.source)
    session = create_session(model.SerializeToString(), "the original")
    feeds = make_inputs(session, _NOISE_BATCH, seed, list_axis_sizes(program))
    return DriftInputs((feeds,), "normal noise")
