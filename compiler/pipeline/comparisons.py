"""Comparisons: what the original and the compressed ONNX file cost and how fast they are."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from compressc.backend.onnx_export import write_onnx
from compressc.dynamic_axes import list_axis_sizes
from compressc.pipeline.checks import Counted
from compressc.program import Program
from compressc.reporting.layer_latency import time_layers
from compressc.reporting.report import LayerRow
from compressc.runtime.bench import bench
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.onnx_cost import count_cost
from compressc.settings import Settings
from compressc.stages import ProgressCallback


def count_file(model: ModelProto, program: Program) -> Counted:
    """Return what an ONNX model itself says it costs, per sample."""
    count = count_cost(model, 1, list_axis_sizes(program))
    return Counted(count.macs_per_item, count.size_bytes, "; ".join(count.uncounted[:1]))


def time_files(
    before: ModelProto,
    after: ModelProto,
    original: Program,
    settings: Settings,
    *,
    seed: int,
    progress: ProgressCallback,
    in_float: ModelProto | None = None,
) -> BenchResult:
    """Time ONNX models against each other in interleaved rounds.

    Args:
        before: the original.
        after: the compressed model.
        original: says what sizes the inputs have.
        settings: how to time.
        seed: of inputs and resampling.
        progress: called with (done, total, text).
        in_float: the compressed model in float32, where ``after`` is int8.
    """
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        paths = [Path(folder) / "original.onnx", Path(folder) / "compressed.onnx"]
        models = [before, after]
        if in_float is not None:
            paths.append(Path(folder) / "compressed_float32.onnx")
            models.append(in_float)
        for model, path in zip(models, paths, strict=True):
            write_onnx(model, path)
        result = bench(
            paths,
            threads=settings.threads,
            batch=settings.batch,
            seconds=settings.seconds,
            shapes=list_axis_sizes(original),
            seed=seed,
            progress=progress,
        )
    # The folder is gone; what is left of the paths says which file is meant.
    return replace(
        result,
        measurements=tuple(replace(m, path=Path(m.path).name) for m in result.measurements),
        notes=tuple(note.replace(f"{folder}/", "") for note in result.notes),
    )


def time_rows(
    rows: tuple[LayerRow, ...],
    before: ModelProto,
    after: ModelProto,
    original: Program,
    settings: Settings,
) -> tuple[LayerRow, ...]:
    """Return the rows with the latency of each layer in the original and in the new file."""
    names = {row.name for row in rows}
    before_ms, after_ms = (
        time_layers(
            model,
            names,
            threads=settings.threads,
            batch=settings.batch,
            shapes=list_axis_sizes(original),
            seconds=settings.seconds / 6,
        )
        for model in (before, after)
    )
    return tuple(
        replace(
            row,
            latency_ms_before=before_ms.get(row.name),
            latency_ms_after=after_ms.get(row.name),
        )
        for row in rows
    )
