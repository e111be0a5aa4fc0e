"""Measuring: how fast the file is beside the original's, as a whole and layer by layer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from compressc.backend.onnx_export import write_onnx
from compressc.clock import ProgressCallback
from compressc.coupling.graph import couple
from compressc.dynamic_axes import list_axis_sizes
from compressc.goal import LatencyBound
from compressc.latency.layer_latency import time_layers
from compressc.pipeline.artifact import Artifact, LayerTimes
from compressc.pipeline.checks import check_latency
from compressc.pipeline.integer_precision import latency_remark
from compressc.plan import Plan
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.benchmark import bench
from compressc.runtime.inputs import Shapes
from compressc.target import Target

# Part of the time for measuring that each of both files gets to tell its layers apart.
_LAYER_SHARE = 1 / 6


def is_measured(artifact: Artifact) -> bool:
    """Return whether the files are to be timed."""
    return artifact.job.settings.measure


def time_files(artifact: Artifact) -> Artifact:
    """Time original and result against each other in interleaved rounds.

    Where the result is int8 the same network in float32 is timed along with them.
    """
    job = artifact.job
    models = {"original.onnx": _original(artifact), "compressed.onnx": artifact.file}
    if artifact.float_onnx is not None:
        models["compressed_float32.onnx"] = artifact.float_onnx
    timed = bench_models(
        models,
        job.target,
        job.settings.seconds,
        list_axis_sizes(artifact.original),
        job.goal.seed,
        artifact.clock.within("measuring"),
    )
    return replace(artifact, bench=timed).with_notes(*timed.notes)


def bench_models(
    models: Mapping[str, ModelProto],
    target: Target,
    seconds: float,
    shapes: Shapes,
    seed: int,
    progress: ProgressCallback,
) -> BenchResult:
    """Time models against each other in interleaved rounds.

    Args:
        models: by the names of their files; ratios are taken against the first.
        target: threads and batch.
        seconds: of all rounds together.
        shapes: sizes of symbolic axes but the batch, or whole shapes of inputs.
        seed: of the inputs.
        progress: called with (done, total, text).

    Raises:
        RuntimeFailure: if one cannot be opened or run.
    """
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        paths = [Path(folder) / name for name in models]
        for model, path in zip(models.values(), paths, strict=True):
            write_onnx(model, path, checked=False)
        timed = bench(
            paths,
            threads=target.threads,
            batch=target.batch,
            seconds=seconds,
            shapes=shapes,
            seed=seed,
            progress=progress,
        )
    # The folder is gone; what is left of the paths says which file is meant.
    return replace(
        timed,
        measurements=tuple(replace(m, path=Path(m.path).name) for m in timed.measurements),
        notes=tuple(note.replace(f"{folder}/", "") for note in timed.notes),
    )


def time_each_layer(artifact: Artifact) -> Artifact:
    """Add what every layer takes in the original and in the result."""
    job = artifact.job
    names = {layer.name for layer in couple(artifact.original).layers(Plan())}
    before, after = (
        time_layers(
            model,
            names,
            threads=job.target.threads,
            batch=job.target.batch,
            shapes=list_axis_sizes(artifact.original),
            seconds=job.settings.seconds * _LAYER_SHARE,
        )
        for model in (_original(artifact), artifact.file)
    )
    return replace(artifact, layer_times=LayerTimes(before, after))


def bounds_latency(artifact: Artifact) -> bool:
    """Return whether the goal is about time."""
    return artifact.job.goal.latency_ms is not None


def check_latency_goal(artifact: Artifact) -> Artifact:
    """Check the latency by what was measured, or by what was predicted for another machine.

    Behind the stamp, so that the measured file is the one that is written.

    Raises:
        VerificationError: if it takes too long.
    """
    bound = artifact.job.goal.latency_ms
    assert isinstance(bound, LatencyBound)
    check = check_latency(
        bound,
        artifact.predicted,
        artifact.job.target.device,
        artifact.bench,
        artifact.int8 is not None,
    )
    artifact = artifact.with_check(check)
    if artifact.int8 is None or not artifact.predicted:
        return artifact
    return artifact.with_notes(latency_remark(check))


def _original(artifact: Artifact) -> ModelProto:
    assert artifact.original_onnx is not None
    return artifact.original_onnx
