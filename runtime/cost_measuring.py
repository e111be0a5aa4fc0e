"""Measuring the cells of a cost table, and keeping the table for the next run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from compressc.runtime.cell_models import Cell, build_cells, can_build
from compressc.runtime.cost_table import CostTable
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.kernel_kinds import (
    KernelKind,
    Widths,
    reads_unblocked,
    reorder_before,
)
from compressc.runtime.kernel_list import KernelList
from compressc.runtime.machine import channel_multiple, describe_machine
from compressc.runtime.pinning import pinned
from compressc.runtime.profiled_session import ProfiledSession, undisturbed
from compressc.runtime.quietness import judge, take_snapshot
from compressc.runtime.roofline import measure_clock
from compressc.runtime.width_grid import grid

Progress = Callable[[int, int, str], None]

# About the weights of a large network: what lies between two runs of one cell.
_CHUNK_BYTES = 96 * 2**20
_CHUNK_CELLS = 250
_SESSIONS = 2
_WARM_UP_RUNS = 2
_LEAST_RUNS, _MOST_RUNS = 8, 24
_EVENTS = 30_000


def new_table(threads: int = 1) -> CostTable:
    """Return a table without cells for this machine.

    Raises:
        RuntimeFailure: if ONNX Runtime does not run here.
    """
    machine = describe_machine()
    _, node_ms, call_ms = measure_clock(threads)
    return CostTable(machine, threads, channel_multiple(machine), node_ms, call_ms)


def wanted_cells(kernels: KernelList, block: int) -> list[tuple[KernelKind, Widths]]:
    """Return every kind of a network over its width grid, alternating between kinds.

    Neighbours in the list are measured in one session, and a session of many kinds uses the caches
    as a network does.
    """
    columns = [
        [(kind, widths) for widths in reversed(grid(kind, most, block))]
        for kind, most in kernels.most.items()
    ]
    cells = dict.fromkeys(kernels.exact)
    for (kind, most), column in zip(kernels.most.items(), columns, strict=True):
        narrow = any(reads_unblocked(kind, widths, block) for _, widths in column)
        if narrow and not reads_unblocked(kind, most, block):
            cells[reorder_before(kind), (block,)] = None
    for place in range(max(map(len, columns), default=0)):
        cells.update(dict.fromkeys(column[place] for column in columns if place < len(column)))
    return list(cells)


def measure_cells(
    table: CostTable,
    requested: Iterable[tuple[KernelKind, Widths]],
    progress: Progress | None = None,
) -> CostTable:
    """Return the table with what it lacks of ``requested`` measured.

    Every cell is run in two sessions, under the profiler, several times each; the lower of the two
    times counts, since others only ever make a kernel slower. Kinds that the runtime refuses to run
    on their own are left out.

    Args:
        table: of this machine.
        requested: kinds at widths.
        progress: called with (done, total, text).

    Raises:
        RuntimeFailure: if the table is of another machine.
    """
    if table.machine.digest != describe_machine().digest:
        raise RuntimeFailure(
            f"the cost table is of {table.machine.cpu_model} with onnxruntime "
            f"{table.machine.onnxruntime}; measure what it lacks there, with compressc profile "
            "--cost-table"
        )
    cells = [Cell(kind, widths) for kind, widths in table.missing(requested) if can_build(kind)]
    if not cells:
        return table
    chunks = _chunks(cells)
    measured_ms: dict[Cell, float] = {}
    with pinned(table.threads):
        clock_ms, node_ms, call_ms = measure_clock(table.threads)
        before = take_snapshot()
        for number, chunk in enumerate(chunks):
            if progress is not None:
                progress(number, len(chunks), f"measuring {len(cells)} kernels")
            measured_ms.update(_measure(chunk, table.threads))
        quiet = judge(before, take_snapshot(), None).is_quiet
    by_kind: dict[KernelKind, dict[Widths, float]] = {}
    for cell, ms in measured_ms.items():
        by_kind.setdefault(cell.kind, {})[cell.widths] = max(ms - clock_ms, node_ms)
    taken_at = datetime.now(UTC).isoformat(timespec="seconds")
    measured = replace(
        table,
        node_ms=node_ms,
        call_ms=call_ms,
        cells=by_kind,
        networks={},
        taken_at=taken_at,
        quiet=quiet,
    )
    return table.merged(measured)


def _chunks(cells: Sequence[Cell]) -> list[list[Cell]]:
    chunks: list[list[Cell]] = []
    for opset in sorted({cell.kind.opset for cell in cells}):
        room = 0
        chunk: list[Cell] = []
        for cell in cells:
            if cell.kind.opset != opset:
                continue
            if not chunk or room < cell.size_bytes or len(chunk) >= _CHUNK_CELLS:
                room, chunk = _CHUNK_BYTES, []
                chunks.append(chunk)
            chunk.append(cell)
            room -= cell.size_bytes
    return chunks


def _measure(chunk: Sequence[Cell], threads: int) -> dict[Cell, float]:
    """Return milliseconds with the profiler's clock; a chunk that is refused is split."""
    try:
        return _run(chunk, threads)
    except RuntimeFailure:
        if len(chunk) == 1:
            return {}
    half = len(chunk) // 2
    return {**_measure(chunk[:half], threads), **_measure(chunk[half:], threads)}


def _run(chunk: Sequence[Cell], threads: int) -> dict[Cell, float]:
    model = build_cells(chunk)
    runs = int(np.clip(_EVENTS // (3 * len(chunk)), _LEAST_RUNS, _MOST_RUNS))
    lowest_ms: dict[Cell, float] = {}
    for _ in range(_SESSIONS):
        name = f"kernels such as {chunk[0].kind.op}"
        with ProfiledSession(model.serialized, name, threads, optimize=False) as session:
            for _ in range(_WARM_UP_RUNS + runs):
                session.run(model.feeds)
            nodes = session.finish(skip=_WARM_UP_RUNS).nodes
        for cell, node in zip(chunk, model.names, strict=True):
            ms = undisturbed(nodes[node].run_ms)
            lowest_ms[cell] = min(ms, lowest_ms.get(cell, ms))
    return lowest_ms
