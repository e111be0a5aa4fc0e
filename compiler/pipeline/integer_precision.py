"""Integer precision: from a verified float32 ONNX model to an int8 one that was judged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

from compressc.backend.output_drift import Drift, measure_drift
from compressc.backend.quantization import PRECISION, QuantizedModel, quantize
from compressc.errors import DataError, PrecisionError
from compressc.fast_int8 import check_fast_int8
from compressc.goal import Goal
from compressc.pipeline.findings import IntegerRow
from compressc.program import Program
from compressc.runtime.int8_path import int8_weight_bits, runs_on, saturates
from compressc.settings import Settings
from compressc.target import Target
from compressc.tasks.calibration_samples import ReadsInputs, Samples, draw_samples
from compressc.tasks.capabilities import GivesSamples
from compressc.tasks.protocol import Scored
from compressc.verdict import Check

_CHECK = "int8 ~ float32"
# Fewer samples than this may miss what values occur.
_FEW = 32
# Below this share of a latency target channels were given away.
_ON_TARGET = 0.95


@dataclass(frozen=True, eq=False)
class Quantized:
    """An int8 model and what is known of it.

    Attributes:
        model: the ONNX model.
        drift: its distance from the float32 model.
        row: for the report; the metric is added once it is known.
        notes: what the user should know.
    """

    model: onnx.ModelProto
    drift: Drift
    row: IntegerRow
    notes: tuple[str, ...]

    @property
    def check(self) -> Check:
        """The verdict on the drift."""
        drift = self.drift
        text = drift.text
        if drift.problem:
            text = (
                f"{drift.problem}; calibrate on inputs like those in use (--int8-samples, or "
                "--data), or leave out --int8"
            )
        numbers: dict[str, float] = {"relative_error": drift.relative_error}
        if drift.agreement is not None:
            numbers["agreement"] = drift.agreement
        return Check(_CHECK, not drift.problem, text, numbers)


@dataclass(frozen=True)
class IntegerSize:
    """How large the original would be in int8.

    Attributes:
        file_bytes: of its int8 file.
        weight_bytes: those of them that hold int8 weights, one byte each.
    """

    file_bytes: int
    weight_bytes: int


def check_int8(
    settings: Settings,
    goal: Goal,
    task: Scored | None,
    program: Program | None,
    target: Target,
) -> None:
    """Refuse, before any work is done, what cannot become int8.

    Args:
        settings: without ``int8`` everything is fine.
        goal: a latency must be one that the int8 file can be measured for.
        task: what samples may come from.
        program: the model, where it is known already.
        target: where the model will run.

    Raises:
        PrecisionError: if the machine has no fast int8, the storage is compact, or nothing would
            measure the latency that the goal bounds.
        DataError: if there is nothing to calibrate on.
    """
    int8 = settings.int8
    if int8 is None:
        return
    if not int8.force:
        check_fast_int8(target.machine)
    _check_storage(settings)
    if goal.latency_ms is not None:
        _check_measured(settings, target)
    if int8.count < 1:
        raise DataError(f"{int8.count} calibration samples: give 1 or more")
    if int8.samples is None and not isinstance(task, GivesSamples):
        raise DataError(
            "int8 needs real inputs to calibrate on; give --int8-samples FILE.npz or --data DIR "
            "(task=... or Int8(samples=...) in Python)"
        )
    if program is not None and int8.samples is not None:
        draw_samples(program, int8, task, 0)


def measure_int8_size(model: onnx.ModelProto, program: Program) -> IntegerSize:
    """Return how large a model is in int8, which its values have no say in.

    Args:
        model: the float32 export of ``program``.
        program: its example inputs are calibrated on.

    Raises:
        ExportError: if quantising fails.
    """
    feeds = {
        name: tensor.detach().cpu().numpy()
        for name, tensor in zip(program.input_names, program.example_inputs, strict=True)
    }
    quantized = quantize(model, [feeds]).model
    weights = sum(
        math.prod(tensor.dims)
        for tensor in quantized.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    )
    return IntegerSize(quantized.ByteSize(), weights)


def quantize_export(
    model: onnx.ModelProto,
    program: ReadsInputs,
    settings: Settings,
    task: Scored | None,
    seed: int,
    target: Target,
) -> Quantized:
    """Quantise an ONNX model and measure how its outputs drift.

    Args:
        model: in float32: the export of ``program``, or the file whose inputs it describes.
        program: what samples are held against.
        settings: with ``int8``.
        task: what samples come from, unless the settings name a file.
        seed: of the choice of samples.
        target: where the model will run.

    Raises:
        PrecisionError: if the storage is compact.
        DataError: if there are no samples, or they do not fit.
        ExportError: if quantising fails.
    """
    assert settings.int8 is not None
    _check_storage(settings)
    samples = draw_samples(program, settings.int8, task, seed)
    # The drift is judged here, so the sums must fit on this machine as well.
    bits = 7 if saturates() else int8_weight_bits(target.machine)
    quantized = quantize(model, samples.calibration, weight_bits=bits)
    drift = measure_drift(model, quantized.model, samples.judging)
    row = IntegerRow(
        precision=PRECISION,
        calibration_samples=samples.count,
        source=samples.source,
        quantized_nodes=quantized.nodes,
        float_nodes=quantized.kept_float,
        relative_error=drift.relative_error,
        snr_db=drift.snr_db,
        agreement=drift.agreement,
        float_file_bytes=model.ByteSize(),
        weight_bits=bits,
        runs_on=runs_on(bits),
    )
    return Quantized(quantized.model, drift, row, _notes(samples, quantized))


def latency_remark(check: Check) -> str:
    """Return what the user should know of widths that were chosen for a latency in float32.

    Args:
        check: of the latency, which the int8 file was measured for.
    """
    share = float(check.numbers["reached_ms"]) / float(check.numbers["target_ms"])
    said = (
        "widths were chosen by what float32 takes, and the int8 file is what was measured: it "
        f"takes {share:.0%} of the latency target"
    )
    milder = share < _ON_TARGET
    return f"{said}; a milder target keeps more channels" if milder else said


def _check_storage(settings: Settings) -> None:
    if settings.storage != "dense":
        raise PrecisionError(
            f"int8 and {settings.storage} storage do not combine: {settings.storage} storage packs "
            "float weights; leave out one of them"
        )


def _check_measured(settings: Settings, target: Target) -> None:
    if not target.is_here:
        raise PrecisionError(
            "int8 and a latency for another device do not combine: its cost table knows kernels of "
            "float32 only; run on the device itself, bound the MACs instead, or leave out --int8"
        )
    if not settings.measure:
        raise PrecisionError(
            "int8 and a latency goal need a measurement: kernels of float32 predict no int8; "
            "leave out --no-measure (measure=True in Python), or bound the MACs instead"
        )


def _notes(samples: Samples, quantized: QuantizedModel) -> tuple[str, ...]:
    notes = []
    if samples.count < _FEW:
        notes.append(
            f"int8 was calibrated on {samples.count} sample(s) only; a hundred or more show which "
            "values occur"
        )
    if not samples.held_back:
        notes.append("the drift of int8 was judged on the samples that it was calibrated on")
    if quantized.kept_float:
        notes.append(f"float32 stays in {', '.join(quantized.kept_float)}, where it is faster")
    notes.append(
        f"int8 weights have {quantized.weight_bits} bits: the file is right on "
        f"{runs_on(quantized.weight_bits)}"
    )
    return tuple(notes)
