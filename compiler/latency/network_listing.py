"""The kernels of a program's network: run here, or found in another machine's cost table."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compressc.backend.onnx_export import export_whole, write_onnx
from compressc.channels.kept import Kept
from compressc.coupling.graph import Coupling
from compressc.coupling.layers import layer_costs
from compressc.dynamic_axes import list_axis_sizes
from compressc.errors import GoalError
from compressc.plan import Plan
from compressc.program import Program
from compressc.runtime.cost_table import CostTable
from compressc.runtime.kernel_list import KernelList, list_kernels

# A listing is of this network when it multiplies by this share of its weights.
_SAME = 0.9


def write_original(program: Program, path: Path) -> Path:
    """Write the network without pending decisions as ONNX and return the path."""
    write_onnx(export_whole(program), path)
    return path


def list_program(program: Program, threads: int = 1, batch: int = 1) -> KernelList:
    """Return the kernels of the network at full width as this machine executes them.

    Raises:
        ExportError: if it cannot be exported.
        RuntimeFailure: if it does not run.
    """
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        path = write_original(program, Path(folder) / "original.onnx")
        return list_kernels(path, threads, batch, list_axis_sizes(program))


def find_listing(table: CostTable, coupling: Coupling) -> KernelList:
    """Return the listing of a network that was brought along in a cost table.

    Layers are recognised by the names of their weights, so the file profiled there may come from
    any exporter that keeps them.

    Raises:
        GoalError: if the table holds no listing of this network.
    """
    kept = Kept(coupling.solution.class_of, coupling.kept(Plan()))
    layers = {layer.name for layer in layer_costs(coupling.propagation, kept) if layer.params}
    for listing in table.networks.values():
        named = {layer_of(kernel.weight) for kernel in listing.kernels}
        if len(named & layers) >= _SAME * len(layers):
            return listing
    names = ", ".join(table.networks) or "no network"
    raise GoalError(
        f"the cost table of {table.machine.cpu_model} lists {names}, whose weights are not called "
        "as this model's; export the model to ONNX and run compressc profile MODEL.onnx "
        "--cost-table there"
    )


def layer_of(weight: str) -> str:
    """Return the layer that a weight of an ONNX file belongs to."""
    return weight.removesuffix(".T").rpartition(".")[0]
