"""An inspection on the terminal; short enough to read for a model of hundreds of layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compressc.errors import CompresscError
from compressc.reporting.console import make_console
from compressc.reporting.inspection import BlockView, GroupView, Inspection
from compressc.reporting.quantities import readable_bytes, readable_count

Row = TypeVar("Row")

# Rows of a table before it is cut to the costliest.
_ROWS = 25
_BLOCK_ROWS = 10
_NAMES = 4


def print_inspection(
    inspection: Inspection, *, pattern: str | None = None, everything: bool = False
) -> None:
    """Print an overview; or, with ``pattern``, the matching groups slice by slice.

    Raises:
        CompresscError: if the pattern matches no group.
    """
    console = make_console()
    if pattern is not None:
        _print_details(console, inspection, pattern)
        return
    _print_overview(console, inspection)
    _print_pins(console, inspection, everything)
    _print_groups(console, inspection.groups, everything)
    _print_blocks(console, inspection.blocks, everything)
    _print_layers(console, inspection, everything)


def _print_overview(console: Console, inspection: Inspection) -> None:
    free = [group for group in inspection.groups if group.pinned is None]
    inputs = "; ".join(
        f"{escape(name)} {'x'.join(str(size) for size in shape)}"
        for name, shape in inspection.inputs
    )
    share = inspection.least_macs / inspection.macs if inspection.macs else 1.0
    console.print(f"[bold]inputs[/]     {inputs}")
    console.print(
        f"[bold]cost[/]       {readable_count(inspection.macs)} MACs "
        f"({readable_count(2 * inspection.macs)} FLOPs), {readable_count(inspection.params)} "
        f"params, {readable_bytes(inspection.size_bytes)}; {len(inspection.layers)} layers"
    )
    console.print(
        f"[bold]groups[/]     {len(free)} prunable with {sum(g.units for g in free)} units, "
        f"{len(inspection.groups) - len(free)} pinned"
    )
    console.print(
        f"[bold]reachable[/]  {readable_count(inspection.least_macs)} MACs ({100 * share:.1f} %), "
        f"{readable_count(inspection.least_params)} params, with every group at its minimum"
    )


def _print_pins(console: Console, inspection: Inspection, everything: bool) -> None:
    if not inspection.pins:
        return
    by_reason: dict[str, list[str]] = defaultdict(list)
    for pin in inspection.pins:
        by_reason[pin.reason].append(pin.name)
    console.print("\n[bold]what must stay, and why[/]")
    for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        limit = len(names) if everything else _NAMES
        console.print(f"  {len(names)} x {escape(reason)}: {_join(names, limit)}", soft_wrap=True)


def _print_groups(console: Console, groups: Sequence[GroupView], everything: bool) -> None:
    if not groups:
        return
    shown, left = _costliest(groups, everything, lambda group: group.halving_saves)
    table = Table(title="coupled channels", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("group", overflow="fold")
    table.add_column("units", justify="right", no_wrap=True)
    table.add_column("at least", justify="right", no_wrap=True)
    table.add_column("halving saves", justify="right", no_wrap=True)
    table.add_column("made by", overflow="fold")
    table.add_column("read by", overflow="fold")
    for group in shown:
        units = f"{group.units}" + (
            f" x {group.width_per_unit}" if group.width_per_unit > 1 else ""
        )
        table.add_row(
            escape(group.name),
            units,
            "pinned" if group.pinned else str(group.minimum),
            "-" if group.pinned else f"{100 * group.halving_saves:.1f} %",
            _join(group.producers, 3),
            _join(group.consumers, 3),
        )
    console.print()
    console.print(table)
    if left:
        console.print(f"  ... and {left} groups that save less; --all shows them")


def _print_blocks(console: Console, blocks: Sequence[BlockView], everything: bool) -> None:
    if not blocks:
        return
    shown, left = _costliest(blocks, everything, lambda block: block.saves, _BLOCK_ROWS)
    title = "blocks that may be left out whole (--pass depth)"
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("block", overflow="fold")
    table.add_column("saves", justify="right", no_wrap=True)
    table.add_column("layers", overflow="fold")
    for block in shown:
        saves = "pinned" if block.pinned else f"{100 * block.saves:.1f} %"
        table.add_row(escape(block.name), saves, _join(block.layers, _NAMES))
    console.print()
    console.print(table)
    if left:
        console.print(f"  ... and {left} blocks that save less; --all shows them")


def _print_layers(console: Console, inspection: Inspection, everything: bool) -> None:
    layers, total = inspection.layers, inspection.macs
    shown, left = _costliest(layers, everything, lambda layer: layer.macs)
    table = Table(title="MACs per layer", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("operation", no_wrap=True)
    for heading in ("in", "out", "MACs", "share", "params"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in shown:
        table.add_row(
            escape(layer.name),
            layer.operation,
            str(layer.in_channels or "-"),
            str(layer.out_channels or "-"),
            readable_count(layer.macs),
            f"{100 * layer.macs / total:.1f} %" if total else "-",
            readable_count(layer.params),
        )
    console.print()
    console.print(table)
    if left:
        rest = total - sum(layer.macs for layer in shown)
        console.print(
            f"  ... and {left} layers with {100 * rest / max(total, 1):.1f} % of the MACs; "
            "--all shows them"
        )


def _print_details(console: Console, inspection: Inspection, pattern: str) -> None:
    groups = [group for group in inspection.groups if fnmatchcase(group.name, pattern)]
    if not groups:
        names = ", ".join(group.name for group in inspection.groups[:5])
        raise CompresscError(f"--group '{pattern}': matches no group; there are {names}, ...")
    for group in groups:
        state = f"pinned: {group.pinned}" if group.pinned else f"at least {group.minimum} must stay"
        console.print(
            f"[bold]{escape(group.name)}[/]: {group.units} units of {group.width_per_unit} "
            f"channels; {escape(state)}; halving saves {100 * group.halving_saves:.1f} % of MACs",
            soft_wrap=True,
        )
        for member in group.members:
            use = "read by" if member.role == "in" else "made by"
            console.print(
                f"  {use} {escape(member.tensor)} axis {member.axis}: {member.slices} slices",
                soft_wrap=True,
            )


def _costliest(
    rows: Sequence[Row], everything: bool, weight: Callable[[Row], float], most: int = _ROWS
) -> tuple[list[Row], int]:
    """Return the heaviest rows in their own order, and how many were left out."""
    if everything or len(rows) <= most:
        return list(rows), 0
    heaviest = sorted(range(len(rows)), key=lambda index: -weight(rows[index]))[:most]
    return [rows[index] for index in sorted(heaviest)], len(rows) - most


def _join(names: Sequence[str], limit: int) -> str:
    shown = ", ".join(escape(name) for name in names[:limit])
    return f"{shown} + {len(names) - limit} more" if len(names) > limit else shown
