"""The outcome of a benchmark: measurements, their ratios, and how far to trust them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from compressc.runtime.machine import Machine
from compressc.runtime.measurement import Measurement
from compressc.runtime.quietness import Quietness
from compressc.runtime.ratios import Ratio
from compressc.runtime.result_document import Format

_FORMAT = Format("compressc-bench-1", "a benchmark result", "compressc bench --json")


@dataclass(frozen=True)
class BenchResult:
    """Files measured against each other in one run.

    Attributes:
        measurements: one per file, in the order they were named.
        ratios: latency of each file over that of the first; the first is exactly 1.
        rounds: how often every file had its turn.
        seconds: how long the rounds took.
        taken_at: UTC time at which the run began, ISO 8601.
        quietness: what else the machine did meanwhile.
        notes: sentences a reader of the numbers must know, the quietness note first.
        cores: the cores it was kept on; None where the system did not allow it.
    """

    measurements: tuple[Measurement, ...]
    ratios: tuple[Ratio, ...]
    rounds: int
    seconds: float
    taken_at: str
    quietness: Quietness
    notes: tuple[str, ...]
    cores: tuple[int, ...] | None = None

    @property
    def machine(self) -> Machine:
        """The machine everything was measured on."""
        return self.measurements[0].machine

    def to_json(self) -> str:
        """Return the result as a JSON document; :meth:`from_json` reads it back."""
        document = {
            "format": _FORMAT.name,
            "taken_at": self.taken_at,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "machine": self.machine.to_dict(),
            "quietness": asdict(self.quietness),
            "notes": list(self.notes),
            "cores": self.cores,
            "files": [
                {**_without_machine(measurement), "ratio": asdict(ratio)}
                for measurement, ratio in zip(self.measurements, self.ratios, strict=True)
            ],
        }
        return json.dumps(document, indent=1)

    @classmethod
    def from_json(cls, text: str) -> BenchResult:
        """Read what :meth:`to_json` returned.

        Raises:
            RuntimeFailure: if the text is not such a document.
        """
        return _FORMAT.read(text, cls._from_document)

    @classmethod
    def _from_document(cls, document: Mapping[str, Any]) -> BenchResult:
        machine, files = document["machine"], document["files"]
        cores = document.get("cores")
        return cls(
            tuple(Measurement.from_dict({**file, "machine": machine}) for file in files),
            tuple(Ratio(**file["ratio"]) for file in files),
            document["rounds"],
            document["seconds"],
            document["taken_at"],
            Quietness(**document["quietness"]),
            tuple(document["notes"]),
            None if cores is None else tuple(cores),
        )


@dataclass(frozen=True)
class BenchRow:
    """One file as a line of a table.

    Attributes:
        path: the file.
        latency_p50_ms, latency_p90_ms, latency_p99_ms: wall time of one run.
        latency_p50_low_ms, latency_p50_high_ms: interval of the median.
        cpu_ms: CPU time of one run.
        throughput: items per second.
        macs: per item; None if unknown.
        params, size_bytes, peak_rss_bytes: of the file; None if unknown.
        speedup: latency of the first file over this one's, with its interval.
        speedup_low, speedup_high: the interval.
        is_distinct: whether the interval leaves out 1.
    """

    path: str
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    latency_p50_low_ms: float
    latency_p50_high_ms: float
    cpu_ms: float
    throughput: float
    macs: int | None
    params: int | None
    size_bytes: int
    peak_rss_bytes: int | None
    speedup: float
    speedup_low: float
    speedup_high: float
    is_distinct: bool


def bench_table(result: BenchResult) -> list[BenchRow]:
    """Return one row per file, in order; how it looks is left to the caller."""
    return [
        BenchRow(
            path=m.path,
            latency_p50_ms=m.latency_p50_ms,
            latency_p90_ms=m.latency_p90_ms,
            latency_p99_ms=m.latency_p99_ms,
            latency_p50_low_ms=m.latency_intervals_ms.get("p50", (m.latency_p50_ms,) * 2)[0],
            latency_p50_high_ms=m.latency_intervals_ms.get("p50", (m.latency_p50_ms,) * 2)[1],
            cpu_ms=m.cpu_ms,
            throughput=m.throughput,
            macs=m.macs,
            params=m.params,
            size_bytes=m.size_bytes,
            peak_rss_bytes=m.peak_rss_bytes,
            speedup=ratio.speedup,
            speedup_low=1 / ratio.high,
            speedup_high=1 / ratio.low,
            is_distinct=ratio.is_distinct,
        )
        for m, ratio in zip(result.measurements, result.ratios, strict=True)
    ]


def _without_machine(measurement: Measurement) -> Mapping[str, Any]:
    return {key: value for key, value in measurement.to_dict().items() if key != "machine"}
