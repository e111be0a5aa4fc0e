"""Whether zero channels pay: the kernels of both files, measured and added up."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto

from compressc.backend.channel_padding import pad_channels
from compressc.backend.onnx_export import write_onnx
from compressc.runtime.cost_measuring import measure_cells
from compressc.runtime.cost_prediction import predict
from compressc.runtime.cost_store import keep_table, load_table
from compressc.runtime.cost_table import CostTable
from compressc.runtime.kernel_list import KernelList, list_kernels

# Smaller gains are not worth a larger file.
_FASTER = 0.97


def pad_where_faster(
    model: ModelProto, threads: int, batch: int, shapes: Mapping[str, int]
) -> tuple[ModelProto, str]:
    """Return the model with zero channels where that is measured to be faster, and a remark.

    Kernels are measured once per machine and kept with the cost table. Where all counts are
    aligned nothing is measured.

    Args:
        model: the file as it was exported.
        threads: of each operator, as it will be run.
        batch: size of symbolic first axes.
        shapes: sizes of dynamic axes other than the batch.

    Raises:
        RuntimeFailure: if a file does not run.
    """
    padded = pad_channels(model)
    if padded is None:
        return model, ""
    plain, wider = (_list(one, threads, batch, shapes) for one in (model, padded.model))
    table = _with_cells_of(load_table(threads), plain, wider)
    before, after = (predict(table, one).latency_ms for one in (plain, wider))
    widths = ", ".join(f"{old} to {new}" for old, new in padded.widths)
    if after > _FASTER * before:
        return model, ""
    return padded.model, (
        f"channels padded with zeros where that is faster ({widths}): {before / after:.2f}x by the "
        "measured kernels, and the outputs stay the same"
    )


def _list(model: ModelProto, threads: int, batch: int, shapes: Mapping[str, int]) -> KernelList:
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(model, path)
        return list_kernels(path, threads, batch, dict(shapes))


def _with_cells_of(table: CostTable, *listings: KernelList) -> CostTable:
    """Return the table with the very kernels of some files in it."""
    wanted = dict.fromkeys(cell for listing in listings for cell in listing.exact)
    measured = measure_cells(table, wanted)
    if measured is not table:
        keep_table(measured)
    return measured
