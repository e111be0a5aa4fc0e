"""Where cost tables are kept between runs: one file per machine, runtime and threads."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from compressc.runtime.cost_measuring import Progress, measure_cells, new_table, wanted_cells
from compressc.runtime.cost_table import CostTable
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import Shapes
from compressc.runtime.kernel_list import KernelList, list_kernels
from compressc.runtime.machine import describe_machine


def cache_path(threads: int) -> Path:
    """Return the file of this machine: below ``$XDG_CACHE_HOME``, else ``~/.cache``.

    Raises:
        OSError: if the user has no home.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(root) if root else Path.home() / ".cache"
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "no home folder") from error
    name = f"costs-{describe_machine().digest[:16]}-{threads}-threads.json"
    return folder / "compressc" / name


def load_table(threads: int = 1) -> CostTable:
    """Return this machine's table; an empty one where none is kept, or it cannot be read."""
    try:
        table = CostTable.from_json(cache_path(threads).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RuntimeFailure):
        return new_table(threads)
    # The digest is in the file's name, but a file can be copied.
    same = table.machine.digest == describe_machine().digest and table.threads == threads
    return table if same else new_table(threads)


def read_table(path: str | Path) -> CostTable:
    """Read a table that ``compressc profile --cost-table`` wrote.

    Raises:
        RuntimeFailure: if the file cannot be read, or is no cost table.
    """
    try:
        return CostTable.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise RuntimeFailure(f"{path}: cannot be read ({reason}); check the path") from error
    except RuntimeFailure as error:
        raise RuntimeFailure(f"{path}: {error}") from error


def keep_table(table: CostTable) -> bool:
    """Write a table where :func:`load_table` finds it; return whether that was possible.

    What another run measured meanwhile is kept as well. A folder that cannot be written is no
    error: the next run measures again.
    """
    try:
        path = cache_path(table.threads)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = load_table(table.threads)
        if kept.size:
            table = kept.merged(table)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(table.to_json())
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError:
        return False
    return True


def table_for(
    kernels: KernelList,
    threads: int = 1,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> CostTable:
    """Return a table that covers a network on this machine, measuring what is not kept yet.

    Args:
        kernels: of the network at full width.
        threads: of each operator.
        fresh: measure everything anew.
        progress: called with (done, total, text).

    Raises:
        RuntimeFailure: if ONNX Runtime does not run here.
    """
    table = new_table(threads) if fresh else load_table(threads)
    cells = wanted_cells(kernels, table.block)
    measured = measure_cells(table, cells, progress)
    if measured is not table:
        keep_table(measured)
    return measured


def export_table(
    path: str | Path,
    threads: int = 1,
    batch: int = 1,
    *,
    shapes: Shapes | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> CostTable:
    """Return what another machine needs to predict pruned forms of a network on this one.

    The table holds the kinds of this network only, and the list of its kernels under the file's
    name without its folder.

    Args:
        path: the ONNX file of the network at full width.
        threads: of each operator.
        batch: size of symbolic first axes.
        shapes: sizes of other symbolic axes.
        fresh: measure everything anew.
        progress: called with (done, total, text).

    Raises:
        RuntimeFailure: if the file cannot be opened, run or counted.
    """
    kernels = list_kernels(path, threads, batch, shapes)
    table = table_for(kernels, threads, fresh=fresh, progress=progress)
    kinds = {kind for kind, _ in wanted_cells(kernels, table.block)}
    return replace(
        table,
        cells={kind: cells for kind, cells in table.cells.items() if kind in kinds},
        networks={Path(path).name: kernels},
    )
