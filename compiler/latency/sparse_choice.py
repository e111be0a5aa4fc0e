"""Whether sparse nodes pay: the file with them, measured against the same file without."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from compressc.backend.onnx_export import write_onnx
from compressc.runtime.benchmark import bench
from compressc.runtime.engine.library import engine_info
from compressc.sparse_graph.emission import emit_sparse_nodes

_REASONS_SHOWN = 3


@dataclass(frozen=True)
class SparseChoice:
    """The file that was chosen.

    Attributes:
        model: with sparse nodes where they pay.
        remarks: what the user should know: what was measured, what stays with ONNX Runtime.
    """

    model: ModelProto
    remarks: tuple[str, ...]


def choose_sparse_nodes(
    model: ModelProto, threads: int, batch: int, shapes: Mapping[str, int], seconds: float
) -> SparseChoice:
    """Return the model with sparse nodes, unless it is measured to be slower with them.

    Args:
        model: the dense file.
        threads: of each operator, as it will be run.
        batch: size of symbolic first axes.
        shapes: sizes of dynamic axes other than the batch.
        seconds: for how long both files are timed; 0 for not at all.

    Raises:
        ExportError: if the engine can run no part of the model.
        RuntimeFailure: if a file does not run.
    """
    sparse = emit_sparse_nodes(model)
    left = [f"{name} ({reason})" for name, reason in sparse.left.items()]
    remarks = [f"sparse nodes stand for {sum(sparse.nodes)} nodes of the network"]
    if left:
        more = f" and {len(left) - _REASONS_SHOWN} more" if len(left) > _REASONS_SHOWN else ""
        remarks.append(f"left to ONNX Runtime: {', '.join(left[:_REASONS_SHOWN])}{more}")
    info = engine_info()
    if info.path is None or not seconds:
        why = str(info) if info.path is None else "not measured against the dense file"
        return SparseChoice(sparse.model, (*remarks, why))
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        paths = [Path(folder) / "dense.onnx", Path(folder) / "sparse.onnx"]
        for candidate, path in zip((model, sparse.model), paths, strict=True):
            write_onnx(candidate, path)
        result = bench(paths, threads, batch, seconds=seconds, shapes=dict(shapes), peak_rss=False)
    ratio = result.ratios[1]
    if ratio.low > 1:
        return SparseChoice(
            model,
            (
                f"no sparse nodes: measured {ratio.speedup:.2f}x of the same file on ONNX "
                f"Runtime's dense kernels ({info.used} kernels); more zeros are needed to gain",
            ),
        )
    remarks.append(
        f"{ratio.speedup:.2f}x as fast as the same file on ONNX Runtime's dense kernels "
        f"({info.used} kernels)"
    )
    return SparseChoice(sparse.model, tuple(remarks))
