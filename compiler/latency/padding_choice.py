"""Whether zero channels pay: both files, measured against each other."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto

from compressc.backend.channel_padding import pad_channels
from compressc.backend.onnx_export import write_onnx
from compressc.runtime.benchmark import bench
from compressc.runtime.ratios import Ratio

# Smaller gains are not worth a larger file.
_FASTER = 0.97


def pad_where_faster(
    model: ModelProto,
    threads: int,
    batch: int,
    shapes: Mapping[str, int],
    seconds: float = 3.0,
) -> tuple[ModelProto, str]:
    """Return the model with zero channels where that is measured to be faster, and a remark.

    The files themselves are timed: what kernels gain when they run alone is not what a network
    gains. Where all counts are aligned nothing is measured; where the machine is too busy to tell
    the files apart the counts stay.

    Args:
        model: the file as it was exported.
        threads: of each operator, as it will be run.
        batch: size of symbolic first axes.
        shapes: sizes of dynamic axes other than the batch.
        seconds: for how long both files are timed.

    Raises:
        RuntimeFailure: if a file does not run.
    """
    padded = pad_channels(model)
    if padded is None:
        return model, ""
    ratio = _measure(model, padded.model, threads, batch, shapes, seconds)
    if ratio.value > _FASTER or not ratio.high < 1:
        return model, ""
    widths = ", ".join(f"{old} to {new}" for old, new in padded.widths)
    return padded.model, (
        f"channels padded with zeros since that is faster ({widths}): measured "
        f"{ratio.speedup:.2f}x, and the outputs stay the same"
    )


def _measure(
    model: ModelProto,
    padded: ModelProto,
    threads: int,
    batch: int,
    shapes: Mapping[str, int],
    seconds: float,
) -> Ratio:
    """Return the latency of the padded file over that of the other."""
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        paths = [Path(folder) / "plain.onnx", Path(folder) / "padded.onnx"]
        for graph_model, path in zip((model, padded), paths, strict=True):
            write_onnx(graph_model, path)
        result = bench(paths, threads, batch, seconds=seconds, shapes=dict(shapes), peak_rss=False)
    return result.ratios[1]
