"""One measured file, as a value that carries where it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from compressc.runtime.machine import Machine


@dataclass(frozen=True)
class Measurement:
    """What one ONNX file costs on one machine.

    Attributes:
        path: the file, as it was named.
        sha256: of the file itself, without external weights.
        latency_p50_ms, latency_p90_ms, latency_p99_ms: wall time of one run.
        latency_mean_ms: the same, averaged.
        cpu_ms: CPU time of one run, summed over its threads, averaged.
        throughput: items (batch entries) per second of wall time.
        runs: how many runs were timed.
        steady: whether the warm-up came to a stand before it ended.
        threads: threads of each operator.
        batch: items in one run.
        input_shapes: shape of each input.
        peak_rss_bytes: peak memory of a process that does nothing else; None if not measured.
        baseline_rss_bytes: what that process needed before it opened the file; None likewise.
        size_bytes: the file with its external weights.
        macs: multiply-accumulates per item; None if they could not be counted.
        params: stored weights; None likewise.
        machine: where it was measured.
        sessions: how often the file was opened anew.
        latency_intervals_ms: low and high end of p50, p90 and p99 by those names: what sessions
            differ by; empty in records of releases that did not measure it.
    """

    path: str
    sha256: str
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    latency_mean_ms: float
    cpu_ms: float
    throughput: float
    runs: int
    steady: bool
    threads: int
    batch: int
    input_shapes: Mapping[str, tuple[int, ...]]
    peak_rss_bytes: int | None
    baseline_rss_bytes: int | None
    size_bytes: int
    macs: int | None
    params: int | None
    machine: Machine
    sessions: int = 1
    latency_intervals_ms: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        intervals = {name: (low, high) for name, (low, high) in self.latency_intervals_ms.items()}
        object.__setattr__(self, "latency_intervals_ms", MappingProxyType(intervals))
        shapes = {name: tuple(shape) for name, shape in self.input_shapes.items()}
        object.__setattr__(self, "input_shapes", MappingProxyType(shapes))

    def __reduce__(self) -> tuple[object, ...]:
        return (Measurement.from_dict, (self.to_dict(),))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["input_shapes"] = {k: list(v) for k, v in self.input_shapes.items()}
        values["latency_intervals_ms"] = {
            name: list(ends) for name, ends in self.latency_intervals_ms.items()
        }
        values["machine"] = self.machine.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """Read what :meth:`to_dict` returned; unknown keys are ignored.

        Raises:
            KeyError: if a field is missing.
        """
        late = ("sessions", "latency_intervals_ms")
        known = {
            item.name: values[item.name]
            for item in fields(cls)
            if item.name not in late or item.name in values
        }
        return cls(**{**known, "machine": Machine.from_dict(values["machine"])})
