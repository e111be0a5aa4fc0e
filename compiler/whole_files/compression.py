"""Compression of an ONNX file as it is: zeros, compact storage, int8, each with its check."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from onnx import ModelProto

from compressc.backend.onnx_export import write_onnx
from compressc.backend.output_drift import measure_drift
from compressc.clock import Clock, ProgressCallback, ignore_progress
from compressc.errors import ExportError
from compressc.goal import Goal
from compressc.pass_fields import read_settings
from compressc.pipeline.findings import Accuracy
from compressc.pipeline.integer_precision import Quantized, check_int8, quantize_export
from compressc.pipeline.measuring import bench_models
from compressc.pipeline.stamping import stamp
from compressc.reporting.report import Amounts, PassRow, PinRow, Report
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.machine import describe_machine
from compressc.runtime.onnx_cost import count_cost
from compressc.settings import Int8
from compressc.storage.compact_storage import compact
from compressc.storage.onnx_unpacking import MIN_OPSET
from compressc.tasks.calibration_samples import draw_samples
from compressc.verdict import Check, Verdict
from compressc.whole_files.inputs import RANDOM, FileInputs, read_file_inputs
from compressc.whole_files.job import FileJob
from compressc.whole_files.preparation import in_opset, with_node_names, with_weights_on_top
from compressc.whole_files.seeding import drop_seeds, with_seeds
from compressc.whole_files.weights import list_weights
from compressc.whole_files.zeros import count_zeros, set_zeros

# Real inputs that both files are compared on, at most.
_JUDGING = 64
# Rebuilt weights have the bits of the plain ones; kernels may be chosen another way.
_COMPACT_TOLERANCE = 1e-5
# The first with int8 scales per channel.
_INT8_OPSET = 13


@dataclass(frozen=True, eq=False)
class FileResult:
    """A compressed file that passed every check.

    Attributes:
        report: what was done, what was gained, what was checked.
        onnx: the file, with the verdict in its ``metadata_props``.
    """

    report: Report
    onnx: ModelProto

    def export(self, path: str | Path) -> Path:
        """Write the file.

        Raises:
            ExportError: if it is larger than 2 GiB.
            OutputError: if it cannot be written.
        """
        write_onnx(self.onnx, path, checked=False)
        return Path(path)


@dataclass(frozen=True, eq=False)
class _Work:
    """What has become of the file so far.

    Attributes:
        model: the file, in float32 until it is quantised.
        dense: the same with every weight stored plainly.
        quantized: what int8 made of it; None for float32.
    """

    model: ModelProto
    dense: ModelProto
    verdict: Verdict = field(default_factory=Verdict)
    passes: tuple[PassRow, ...] = ()
    notes: tuple[str, ...] = ()
    quantized: Quantized | None = None

    def with_check(self, check: Check) -> _Work:
        return replace(self, verdict=self.verdict.with_check(check))


def compress_file(job: FileJob, progress: ProgressCallback = ignore_progress) -> FileResult:
    """Zero weights of a file, store them compactly, quantise it: whatever the job asks for.

    Args:
        job: what is asked for.
        progress: called with (done, total, text).

    Raises:
        HandOverError: if its inputs cannot be made up in the shapes that were given.
        PlanError: if there is no weight to zero.
        PrecisionError, DataError, ExportError: if it cannot become int8.
        VerificationError: if a check fails.
        RuntimeFailure: if ONNX Runtime does not run it on the inputs.
    """
    clock = Clock(progress)
    if job.samples is not None and job.settings.int8 is not None:
        int8 = replace(job.settings.int8, samples=job.settings.int8.samples or job.samples)
        job = replace(job, settings=replace(job.settings, int8=int8))
    check_int8(job.settings, Goal(), None, None, job.target)
    with clock.stage("running the file"):
        original, seeded = with_seeds(job.model)
        inputs = _read_inputs(job, original)
    work = _Work(original, original)
    with clock.stage("setting zeros"):
        work = _with_zeros(job, work)
    if job.settings.storage == "compact":
        with clock.stage("storing compactly"):
            work = _stored_compactly(work, inputs)
    if job.settings.int8 is not None:
        with clock.stage("quantising to int8"):
            work = _in_int8(job, work, inputs)
    with clock.stage("comparing with the original"):
        accuracy = _tell_accuracy(original, work.model, inputs)
    drop_seeds(work.model, seeded)
    _stamp(job, work, accuracy)
    timed = None
    if job.settings.measure and not inputs.problem:
        with clock.stage("measuring"):
            timed = _time(job, work, inputs, clock)
    return FileResult(_report(job, work, inputs, accuracy, timed, clock), work.model)


def _read_inputs(job: FileJob, original: ModelProto) -> FileInputs:
    """Return inputs that the file runs on: those of the job's samples, else made-up ones.

    Raises:
        RuntimeFailure: if there are none, and what is asked for is judged by outputs. Zeros are
            not: what is proven of them is in the file itself.
    """
    inputs = read_file_inputs(original, job.shapes, job.seed)
    if job.samples is not None and not inputs.problem:
        asked = Int8(job.samples, _JUDGING)
        inputs = inputs.real(draw_samples(inputs, asked, None, job.seed).judging, job.samples)
    try:
        if not inputs.problem:
            measure_drift(original, original, inputs.runs[:1])
    except RuntimeFailure as error:
        advice = "" if job.samples else "; or give inputs that it runs on: --data FILE.npz"
        inputs = replace(inputs, problem=f"{error}{advice}")
    if inputs.problem and (job.settings.int8 is not None or job.settings.storage == "compact"):
        raise RuntimeFailure(inputs.problem)
    return inputs


def _with_zeros(job: FileJob, work: _Work) -> _Work:
    for method in job.passes:
        started = time.perf_counter()
        zeroed = set_zeros(work.model, method, job.keep)
        seconds = round(time.perf_counter() - started, 3)
        row = PassRow(method.name, read_settings(method), seconds, zeroed.notes)
        work = replace(work, model=zeroed.model, dense=zeroed.model, passes=(*work.passes, row))
        work = work.with_check(zeroed.check)
    return work


def _stored_compactly(work: _Work, inputs: FileInputs) -> _Work:
    plain = with_weights_on_top(in_opset(work.dense, MIN_OPSET, "--storage compact"))
    packed, _ = compact(plain)
    drift = measure_drift(work.dense, packed, inputs.runs)
    close = drift.relative_error <= _COMPACT_TOLERANCE
    numbers = {"relative_error": drift.relative_error}
    check = Check("compact == plain in ONNX Runtime", close, drift.text, numbers)
    return replace(work, model=packed).with_check(check)


def _in_int8(job: FileJob, work: _Work, inputs: FileInputs) -> _Work:
    if not list_weights(work.dense, inside=False):
        raise ExportError(
            "no layer with weights stands outside of If and Loop, and inside of them ONNX "
            "Runtime's quantiser does not go; cut a branch out (onnx.utils.extract_model), or "
            "leave out --int8"
        )
    plain = with_node_names(in_opset(work.dense, _INT8_OPSET, "--int8"))
    quantized = quantize_export(plain, inputs, job.settings, None, job.seed, job.target)
    work = replace(work, model=quantized.model, quantized=quantized)
    return replace(work, notes=(*work.notes, *quantized.notes)).with_check(quantized.check)


def _tell_accuracy(original: ModelProto, result: ModelProto, inputs: FileInputs) -> Accuracy:
    if inputs.problem:
        return Accuracy(f"not measured: {inputs.problem}")
    drift = measure_drift(original, result, inputs.runs)
    text = f"not measured: beside the original's, {drift.problem or drift.text}, on {inputs.source}"
    advice = "; give --data FILE.npz to know" if inputs.source == RANDOM else ""
    return Accuracy(
        f"{text}{advice}",
        agreement=drift.agreement,
        relative_error=drift.relative_error,
        inputs_from=inputs.source,
        samples=drift.samples,
    )


def _stamp(job: FileJob, work: _Work, accuracy: Accuracy) -> None:
    """Write into the file what was done to it and what was verified."""
    stamp(
        work.model,
        {
            "compressc.version": version("compressc"),
            "compressc.taken_whole": job.reason,
            "compressc.passes": ", ".join(row.name for row in work.passes),
            "compressc.seed": str(job.seed),
            "compressc.verified": work.verdict.summary(),
            "compressc.accuracy": accuracy.text,
        },
    )


def _time(job: FileJob, work: _Work, inputs: FileInputs, clock: Clock) -> BenchResult:
    models = {"original.onnx": job.model, "compressed.onnx": work.model}
    if work.quantized is not None and job.passes:
        models["compressed_float32.onnx"] = work.dense
    return bench_models(
        models,
        job.target,
        job.settings.seconds,
        inputs.sizes(job.target.batch),
        job.seed,
        clock.within("measuring"),
    )


def _report(
    job: FileJob,
    work: _Work,
    inputs: FileInputs,
    accuracy: Accuracy,
    timed: BenchResult | None,
    clock: Clock,
) -> Report:
    before, uncounted = _amounts(job.model, job.model, inputs)
    after, _ = _amounts(work.dense, work.model, inputs)
    notes = [f"the file was taken as it is: {job.reason}", *uncounted, *work.notes]
    return Report(
        model=job.name,
        goal={},
        before=before,
        after=after,
        layers=(),
        passes=work.passes,
        pins=(PinRow("the whole file", job.reason),),
        verdict=work.verdict,
        multiple_of=1,
        storage=job.settings.storage,
        seed=job.seed,
        bench=timed,
        machine=describe_machine().to_dict(),
        stage_seconds=dict(clock.seconds),
        notes=tuple(dict.fromkeys([*notes, *(timed.notes if timed is not None else ())])),
        version=version("compressc"),
        int8=None if work.quantized is None else work.quantized.row,
        accuracy=accuracy,
    )


def _amounts(
    dense: ModelProto, stored: ModelProto, inputs: FileInputs
) -> tuple[Amounts, tuple[str, ...]]:
    """Return what a file costs, counted where its weights stand plainly; and what is not."""
    try:
        cost = count_cost(dense, 1, inputs.sizes(1))
    except RuntimeFailure as error:
        amounts = Amounts(0, 0, dense.ByteSize(), stored.ByteSize(), count_zeros(dense))
        return amounts, (f"its MACs cannot be counted: {error}",)
    macs = round(cost.macs / cost.batch)
    amounts = Amounts(macs, cost.params, dense.ByteSize(), stored.ByteSize(), count_zeros(dense))
    more = f" (and {len(cost.uncounted) - 1} more)" if len(cost.uncounted) > 1 else ""
    return amounts, tuple(f"{remark}{more}" for remark in cost.uncounted[:1])
