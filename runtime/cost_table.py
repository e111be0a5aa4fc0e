"""A cost table: latency of every kernel kind over its widths, on one machine at some threads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.kernel_kinds import KernelKind, Widths
from compressc.runtime.kernel_list import KernelList
from compressc.runtime.machine import Machine
from compressc.runtime.result_document import Format, read_count, read_time

_FORMAT = Format("compressc-cost-table-1", "a cost table", "compressc profile --cost-table")

Cells = Mapping[Widths, float]
KindAtWidths = tuple[KernelKind, Widths]


@dataclass(frozen=True, eq=False)
class CostTable:
    """Measured latencies of kernels, and what can be said between them.

    Attributes:
        machine: where they were measured.
        threads: of each operator.
        block: channels in a block of the runtime's blocked layout.
        node_ms: what the runtime spends on a node that does nothing.
        call_ms: what a call of a model with nothing in it costs.
        cells: milliseconds by widths, for every kind.
        networks: kernels of networks as that machine executes them, by name.
        taken_at: UTC of the latest measurement, ISO 8601.
        quiet: whether nothing else used the machine while any cell was measured.
    """

    machine: Machine
    threads: int
    block: int
    node_ms: float
    call_ms: float
    cells: Mapping[KernelKind, Cells] = field(default_factory=dict)
    networks: Mapping[str, KernelList] = field(default_factory=dict)
    taken_at: str = ""
    quiet: bool = True

    @property
    def size(self) -> int:
        """Number of measured cells."""
        return sum(len(cells) for cells in self.cells.values())

    def latency_ms(self, kind: KernelKind, widths: Widths) -> float | None:
        """Return what a kernel takes, or None where nothing like it was measured.

        Between measured widths latency is interpolated, in two steps where a kind has two widths;
        blocked kernels are looked up at whole blocks. Outside them it follows the last slope. A
        kind that was measured at other picture sizes only is scaled by its elements.
        """
        cells = self.cells.get(kind)
        if not cells:
            return self._scaled(kind, widths)
        if kind.blocked:
            widths = tuple(self._whole_blocks(width, cells, i) for i, width in enumerate(widths))
        if widths in cells:
            return cells[widths]
        if len(widths) == 1:
            return max(_along([(w[0], ms) for w, ms in cells.items()], widths[0]), self.node_ms)
        rows: dict[int, list[tuple[int, float]]] = {}
        for (inputs, outputs), ms in cells.items():
            rows.setdefault(outputs, []).append((inputs, ms))
        across = [(outputs, _along(row, widths[0])) for outputs, row in rows.items()]
        return max(_along(across, widths[1]), self.node_ms)

    def merged(self, other: CostTable) -> CostTable:
        """Return this table with the cells and networks of another, which win.

        Raises:
            RuntimeFailure: if they are of different machines or threads.
        """
        if self.machine.digest != other.machine.digest or self.threads != other.threads:
            raise RuntimeFailure(
                f"a cost table of {other.machine.cpu_model} at {other.threads} threads does not "
                f"continue one of {self.machine.cpu_model} at {self.threads}"
            )
        cells = {kind: dict(measured) for kind, measured in self.cells.items()}
        for kind, measured in other.cells.items():
            cells.setdefault(kind, {}).update(measured)
        return replace(
            self,
            node_ms=other.node_ms,
            call_ms=other.call_ms,
            cells=cells,
            networks={**self.networks, **other.networks},
            taken_at=max(self.taken_at, other.taken_at),
            quiet=self.quiet and other.quiet,
        )

    def missing(
        self, requested: Iterable[tuple[KernelKind, Widths]]
    ) -> list[tuple[KernelKind, Widths]]:
        """Return what of ``requested`` was not measured yet."""
        return [
            (kind, widths) for kind, widths in requested if widths not in self.cells.get(kind, {})
        ]

    def to_json(self) -> str:
        """Return the table as a JSON document; :meth:`from_json` reads it back."""
        document = {
            "format": _FORMAT.name,
            "machine": self.machine.to_dict(),
            "threads": self.threads,
            "block": self.block,
            "node_ms": self.node_ms,
            "call_ms": self.call_ms,
            "taken_at": self.taken_at,
            "quiet": self.quiet,
            "kinds": [
                {
                    "kind": kind.key,
                    "cells": [[list(w), round(ms, 7)] for w, ms in sorted(cells.items())],
                }
                for kind, cells in self.cells.items()
            ],
            "networks": {name: listing.to_dict() for name, listing in self.networks.items()},
        }
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str) -> CostTable:
        """Read what :meth:`to_json` returned.

        Raises:
            RuntimeFailure: if the text is not such a document.
        """
        return _FORMAT.read(text, cls._build)

    @classmethod
    def _build(cls, document: dict[str, Any]) -> CostTable:
        return cls(
            machine=Machine.from_dict(document["machine"]),
            threads=read_count(document["threads"]),
            block=read_count(document["block"]),
            node_ms=read_time(document["node_ms"]),
            call_ms=read_time(document["call_ms"]),
            cells={
                KernelKind.from_key(entry["kind"]): {
                    tuple(map(read_count, widths)): read_time(ms) for widths, ms in entry["cells"]
                }
                for entry in document["kinds"]
            },
            networks={
                name: KernelList.from_dict(kernels)
                for name, kernels in document["networks"].items()
            },
            taken_at=str(document["taken_at"]),
            quiet=bool(document["quiet"]),
        )

    def _whole_blocks(self, width: int, cells: Cells, place: int) -> int:
        """Round up to blocks, but leave a picture's own channels as they are."""
        if any(widths[place] == width for widths in cells):
            return width
        return -(-width // self.block) * self.block

    def _scaled(self, kind: KernelKind, widths: Widths) -> float | None:
        elements = max(1, kind.elements(widths))
        family = kind.family
        alike = [
            (measured.elements(w), ms)
            for measured, cells in self.cells.items()
            if measured.family == family
            for w, ms in cells.items()
        ]
        if not alike:
            return None
        near, ms = min(alike, key=lambda entry: abs(np.log(max(1, entry[0]) / elements)))
        return self.node_ms + max(0.0, ms - self.node_ms) * elements / max(1, near)


def _along(points: Iterable[tuple[int, float]], width: int) -> float:
    """Interpolate between points; beyond them follow the last slope; one point is scaled."""
    ordered = sorted(points)
    if len(ordered) == 1:
        return ordered[0][1] * width / ordered[0][0]
    places, values = (np.array(part, dtype=np.float64) for part in zip(*ordered, strict=True))
    if width < places[0] or width > places[-1]:
        first = 0 if width < places[0] else -2
        slope = (values[first + 1] - values[first]) / (places[first + 1] - places[first])
        return float(values[first] + slope * (width - places[first]))
    return float(np.interp(width, places, values))
