"""The inspection of a file that is taken as it is, on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compressc.reporting.console import make_console
from compressc.reporting.quantities import readable_bytes, readable_count
from compressc.runtime.inputs import show_dims
from compressc.runtime.onnx_cost import LayerCost
from compressc.whole_files.inspection import FileInspection, PortView

# What is shown without ``--all``: rows of the table, kinds of operators, remarks.
_ROWS, _OPERATORS, _REMARKS = 25, 12, 3


def print_file_inspection(inspection: FileInspection, *, everything: bool = False) -> None:
    """Print what is in the file, why nothing can leave it, and where its MACs are."""
    console = make_console()
    for heading, ports in (("inputs", inspection.inputs), ("outputs", inspection.outputs)):
        for port in ports:
            console.print(f"[bold]{heading:10}[/] {escape(_port(port))}", soft_wrap=True)
    opsets = ", ".join(f"{domain} {version}" for domain, version in inspection.opsets.items())
    console.print(f"[bold]{'written':10}[/] {escape(inspection.producer or '?')}; {escape(opsets)}")
    partly = " that were counted" if inspection.uncounted else ""
    console.print(
        f"[bold]{'cost':10}[/] {readable_count(inspection.macs)} MACs{partly}, "
        f"{readable_count(inspection.params)} params, {readable_bytes(inspection.size_bytes)}"
    )
    console.print(f"[bold]{'prunable':10}[/] nothing: {escape(inspection.reason)}", soft_wrap=True)
    _print_operators(console, inspection, everything)
    _print_layers(console, inspection, everything)
    remarks = inspection.uncounted
    for remark in remarks if everything else remarks[:_REMARKS]:
        console.print(f"  note: {escape(remark)}", soft_wrap=True)
    if len(remarks) > _REMARKS and not everything:
        console.print(f"  ... and {len(remarks) - _REMARKS} more that are not counted")


def _port(port: PortView) -> str:
    shape = f"{show_dims(port.axes)}, " if port.type.startswith("tensor") else ""
    return f"{port.name} {shape}{port.type}"


def _print_operators(console: Console, inspection: FileInspection, everything: bool) -> None:
    counts = list(inspection.operators.items())
    shown = counts if everything else counts[:_OPERATORS]
    text = ", ".join(f"{count} x {name}" for name, count in shown)
    rest = f" + {len(counts) - len(shown)} more" if len(counts) > len(shown) else ""
    console.print(f"[bold]{'operators':10}[/] {escape(text)}{rest}", soft_wrap=True)


def _print_layers(console: Console, inspection: FileInspection, everything: bool) -> None:
    costly = [layer for layer in inspection.layers if layer.macs or layer.params]
    layers = list(inspection.layers) if everything else _heaviest(costly)
    if not layers:
        return
    table = Table(title="MACs per node", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("node", overflow="fold")
    table.add_column("operator", no_wrap=True)
    for heading in ("MACs", "share", "params", "output"):
        table.add_column(heading, justify="right", no_wrap=True)
    total = sum(layer.macs for layer in inspection.layers)
    for layer in layers:
        table.add_row(
            escape(layer.name),
            escape(layer.op),
            readable_count(layer.macs),
            f"{100 * layer.macs / total:.1f} %" if total else "-",
            readable_count(layer.params),
            "x".join(map(str, layer.output_shape)) if layer.output_shape else "-",
        )
    console.print()
    console.print(table)
    if len(layers) < len(inspection.layers):
        left = len(inspection.layers) - len(layers)
        console.print(f"  ... and {left} nodes with fewer MACs or none; --all shows them")


def _heaviest(layers: list[LayerCost]) -> list[LayerCost]:
    """Return the costliest nodes, in their own order."""
    order = sorted(range(len(layers)), key=lambda place: (-layers[place].macs, place))[:_ROWS]
    return [layers[place] for place in sorted(order)]
