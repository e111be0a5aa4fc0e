"""What a sweep over targets found: rows, the front among them, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from compressc.runtime.bench_result import BenchResult, bench_table

_FORMAT = "compressc-sweep-1"


@dataclass(frozen=True)
class SweepRow:
    """One target, or the original.

    Attributes:
        target: what was asked for, such as "0.5"; "original" for the model before.
        key: digest of everything that the result depends on.
        file: name of the ONNX file in the sweep's folder; empty where there is none.
        sha256: of that file.
        reason: why there is no file; empty where there is one.
        macs, params, file_bytes: of the file.
        metric: the task's metric on the test split; None without a task.
        drift: error of the worst output against the original's, as a share of what it varies by.
        agreement: share of inputs with the original's top-1; None where outputs are no logits.
        seconds: how long it took to make.
        latency_ms: p50, from the bench over all files; None if not measured.
        speedup, speedup_low, speedup_high: over the original, with the interval.
        on_front: whether no other file is at least as fast and at least as good.
    """

    target: str
    key: str
    file: str = ""
    sha256: str = ""
    reason: str = ""
    macs: int = 0
    params: int = 0
    file_bytes: int = 0
    metric: float | None = None
    drift: float | None = None
    agreement: float | None = None
    seconds: float = 0.0
    latency_ms: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    on_front: bool = False

    @property
    def is_met(self) -> bool:
        """Whether there is a file."""
        return bool(self.file)

    @property
    def quality(self) -> float | None:
        """What is plotted against latency, higher is better: the metric, else less drift."""
        if self.metric is not None:
            return self.metric
        return None if self.drift is None else -self.drift

    @property
    def effort(self) -> float:
        """What a call costs: milliseconds, or MACs where nothing was timed."""
        return float(self.macs) if self.latency_ms is None else self.latency_ms


@dataclass(frozen=True)
class Sweep:
    """A front of files.

    Attributes:
        model: what the user calls the model.
        kind: what the targets bound: macs, params, size_bytes or latency_ms.
        rows: the original, then one per target in the order asked for.
        metric_name: of the task; empty without one.
        drift_source: the inputs that drift was measured on.
        bench: all files timed in the same rounds; None if not measured.
        notes: what the user should know.
    """

    model: str
    kind: str
    rows: tuple[SweepRow, ...]
    metric_name: str = ""
    drift_source: str = ""
    bench: BenchResult | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def met(self) -> tuple[SweepRow, ...]:
        """The targets that were met."""
        return tuple(row for row in self.rows[1:] if row.is_met)

    @property
    def front(self) -> tuple[SweepRow, ...]:
        """The rows on the front, fastest first."""
        return tuple(sorted((row for row in self.rows if row.on_front), key=lambda r: r.effort))

    def with_bench(self, bench: BenchResult | None) -> Sweep:
        """Return this sweep with latencies, and with the front that follows from them.

        Args:
            bench: of the files in the order of the rows that have one.
        """
        timed = iter(bench_table(bench) if bench is not None else ())
        rows = [_timed(row, timed) if row.is_met else row for row in self.rows]
        return replace(self, rows=_with_front(rows), bench=bench)

    def to_json(self) -> str:
        """Return the sweep as a JSON document; :func:`read_rows` reads its rows back."""
        document = {
            "format": _FORMAT,
            "model": self.model,
            "kind": self.kind,
            "metric_name": self.metric_name,
            "drift_source": self.drift_source,
            "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
            "bench": None if self.bench is None else json.loads(self.bench.to_json()),
        }
        return json.dumps(document, indent=1) + "\n"


def read_rows(text: str) -> tuple[dict[str, SweepRow], BenchResult | None]:
    """Return the rows of an earlier run by key, and its bench; nothing where they are damaged."""
    try:
        document = json.loads(text)
        if document["format"] != _FORMAT:
            return {}, None
        rows = [SweepRow(**entry) for entry in document["rows"]]
        bench = document["bench"]
        timed = None if bench is None else BenchResult.from_json(json.dumps(bench))
    # A file that was torn, or written by another version, only means that work is done again.
    except Exception:  # noqa: BLE001
        return {}, None
    return {row.key: row for row in rows}, timed


def _timed(row: SweepRow, timed: Any) -> SweepRow:
    measured = next(timed, None)
    if measured is None:
        return replace(row, latency_ms=None, speedup=None, speedup_low=None, speedup_high=None)
    return replace(
        row,
        latency_ms=measured.latency_p50_ms,
        speedup=measured.speedup,
        speedup_low=measured.speedup_low,
        speedup_high=measured.speedup_high,
    )


def _with_front(rows: list[SweepRow]) -> tuple[SweepRow, ...]:
    judged: Mapping[int, tuple[float, float]] = {
        place: (row.effort, row.quality)
        for place, row in enumerate(rows)
        if row.is_met and row.quality is not None
    }
    front = {
        place
        for place, (effort, quality) in judged.items()
        if not any(
            (e <= effort and q >= quality) and (e, q) != (effort, quality)
            for e, q in judged.values()
        )
    }
    return tuple(replace(row, on_front=place in front) for place, row in enumerate(rows))
