"""Measuring: how fast the file is beside the original's, as a whole and layer by layer."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from compressc.backend.onnx_export import write_onnx
from compressc.coupling.graph import couple
from compressc.dynamic_axes import list_axis_sizes
from compressc.goal import LatencyBound
from compressc.latency.layer_latency import time_layers
from compressc.pipeline.artifact import Artifact, LayerTimes
from compressc.pipeline.checks import check_latency
from compressc.pipeline.integer_precision import latency_remark
from compressc.plan import Plan
from compressc.runtime.benchmark import bench

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
    models = [_original(artifact), artifact.file]
    names = ["original.onnx", "compressed.onnx"]
    if artifact.float_onnx is not None:
        models.append(artifact.float_onnx)
        names.append("compressed_float32.onnx")
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        paths = [Path(folder) / name for name in names]
        for model, path in zip(models, paths, strict=True):
            write_onnx(model, path)
        timed = bench(
            paths,
            threads=job.target.threads,
            batch=job.target.batch,
            seconds=job.settings.seconds,
            shapes=list_axis_sizes(artifact.original),
            seed=job.goal.seed,
            progress=artifact.clock.within("measuring"),
        )
    # The folder is gone; what is left of the paths says which file is meant.
    timed = replace(
        timed,
        measurements=tuple(replace(m, path=Path(m.path).name) for m in timed.measurements),
        notes=tuple(note.replace(f"{folder}/", "") for note in timed.notes),
    )
    return replace(artifact, bench=timed).with_notes(*timed.notes)


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
