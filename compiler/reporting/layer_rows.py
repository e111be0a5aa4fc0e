"""Rows per layer: the original's layers beside those of the program they became."""

from __future__ import annotations

from collections.abc import Sequence

from compressc.coupling.graph import couple
from compressc.coupling.layers import LayerCost
from compressc.plan import Plan
from compressc.program import Program
from compressc.reporting.report import LayerRow


def layer_rows(original: Program, result: Program) -> tuple[LayerRow, ...]:
    """Compare the layers of two programs by name.

    The parts of a factorised layer (``name.reduce``, ``name.core``, ``name.expand``) are one row.
    A layer that is gone has widths and costs of 0.

    Args:
        original: the program before; a pending plan does not count.
        result: the program after, without a pending plan.
    """
    before = couple(original).layers(Plan())
    after = _by_original(couple(result).layers(Plan()), {row.name for row in before})
    return tuple(_row(old, after.get(old.name)) for old in before)


def _by_original(rows: Sequence[LayerCost], names: set[str]) -> dict[str, list[list[LayerCost]]]:
    """Return, per original layer, one list of parts for each time that the layer is called."""
    parts: dict[str, list[list[LayerCost]]] = {}
    for row in rows:
        if row.name in names:
            parts.setdefault(row.name, []).append([row])
            continue
        layer, _, part = row.name.rpartition(".")
        calls = parts.setdefault(layer, [])
        if part == "reduce" or not calls:
            calls.append([row])
        else:
            calls[-1].append(row)
    return parts


def _row(old: LayerCost, calls: list[list[LayerCost]] | None) -> LayerRow:
    parts = calls.pop(0) if calls else []
    return LayerRow(
        name=old.name,
        operation=old.operation,
        widths_before=(old.in_channels, old.out_channels),
        widths_after=(parts[0].in_channels, parts[-1].out_channels) if parts else (0, 0),
        macs_before=old.macs,
        macs_after=sum(part.macs for part in parts),
        params_before=old.params,
        params_after=sum(part.params for part in parts),
    )
