"""Drift: how far the outputs of one ONNX model lie from those of another on real inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log10
from typing import Any

import numpy as np
import onnx

from compressc.array_types import Array
from compressc.runtime.output_parts import flatten_output
from compressc.runtime.session import create_session, run_session

# An error this large beside the output's variation leaves little of the model: one that always
# answered with the mean would reach 1.
LARGEST_ERROR = 0.7
# A variation below this share of the reference's is none.
_CONSTANT = 1e-3
# An output that varies by less of its own size hardly depends on the input.
_INFORMATIVE = 1e-4

Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class Drift:
    """The output that lies farthest from its reference.

    Attributes:
        output: its name.
        relative_error: root mean square of the difference over that of the reference's variation
            over samples; infinite where the model returns what is no number.
        agreement: share of samples with the same largest logit; None where outputs are no logits.
        samples: how many inputs were compared.
        problem: what makes the model useless, in words; empty otherwise.
        informative: whether the reference varies enough over samples for an error to show.
    """

    output: str
    relative_error: float
    agreement: float | None
    samples: int
    problem: str = ""
    informative: bool = True

    @property
    def snr_db(self) -> float:
        """Signal to noise in decibels."""
        if not isfinite(self.relative_error):
            return -inf
        return -20 * log10(max(self.relative_error, 1e-12))

    @property
    def text(self) -> str:
        """The numbers in one readable line."""
        agreement = ""
        if self.agreement is not None:
            agreement = f", the same top-1 on {100 * self.agreement:.1f} %"
        return (
            f"{self.output} differs by {self.relative_error:.4f} of what it varies by "
            f"({self.snr_db:.1f} dB){agreement}, {self.samples} sample(s)"
            + ("" if self.informative else "; it hardly varies over inputs, so a weak test")
        )


def measure_drift(
    reference: onnx.ModelProto, model: onnx.ModelProto, feeds: Sequence[Feeds]
) -> Drift:
    """Run two models with the same inputs and outputs and compare what they return.

    Args:
        reference: what the outputs should be.
        model: what is judged.
        feeds: batches, at least one.

    Raises:
        RuntimeFailure: if a model does not run on a batch.
    """
    names = [value.name for value in reference.graph.output]
    expected, returned = (_outputs(judged, names, feeds) for judged in (reference, model))
    drifts = [
        _judge(name, expected[name], returned[name])
        for name in names
        if np.issubdtype(expected[name].dtype, np.floating)
    ]
    if not drifts:
        return Drift(names[0], 0.0, None, len(expected[names[0]]))
    return max(drifts, key=lambda drift: (bool(drift.problem), drift.relative_error))


def _outputs(
    model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feeds]
) -> dict[str, Array]:
    session = create_session(model.SerializeToString(), "the ONNX model")
    runs = [run_session(session, batch, "the ONNX model", list(names)) for batch in feeds]
    return {
        name: _join([_as_array(run[place]) for run in runs]) for place, name in enumerate(names)
    }


def _join(parts: Sequence[Array]) -> Array:
    """Return the batches behind each other; flat where their sizes depend on the data."""
    if len({part.shape[1:] for part in parts}) > 1:
        parts = [part.ravel() for part in parts]
    return np.concatenate(parts)


def _as_array(value: Any) -> Array:
    """Return an output as an array of one axis or more; what is no tensor becomes flat."""
    if isinstance(value, np.ndarray):
        return np.atleast_1d(value)
    parts = [array.ravel() for array in flatten_output("", value).values()]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _judge(name: str, expected: Array, returned: Array) -> Drift:
    samples = len(expected)
    if returned.shape != expected.shape:
        return Drift(name, inf, None, samples, f"{name} has another size")
    finite = np.isfinite(expected)
    if not np.isfinite(returned[finite]).all():
        return Drift(name, inf, None, samples, f"{name} is not finite")
    expected, returned = (np.where(finite, x, 0).astype(np.float64) for x in (expected, returned))
    signal = _variation(expected)
    error = float(np.sqrt(np.mean((returned - expected) ** 2)))
    relative = error / signal if signal > 0 else (inf if error > 0 else 0.0)
    agreement = None
    if expected.ndim == 2 and expected.shape[1] > 1:
        agreement = float(np.mean(expected.argmax(axis=1) == returned.argmax(axis=1)))
    problem = ""
    if signal == 0 and error > 0:
        problem = f"{name} differs, where it is the same for every input"
    elif samples > 1 and signal > 0 and _variation(returned) < _CONSTANT * signal:
        problem = f"{name} is the same for every input"
    elif relative > LARGEST_ERROR:
        problem = f"{name} is off by {relative:.2f} of what it varies by"
    informative = signal > _INFORMATIVE * float(np.sqrt(np.mean(expected**2)))
    return Drift(name, relative, agreement, samples, problem, informative)


def _variation(values: Array) -> float:
    """Return the deviation over samples, as a root mean square over elements."""
    centred = values - (values.mean(axis=0) if len(values) > 1 else values.mean())
    return float(np.sqrt(np.mean(centred**2)))
