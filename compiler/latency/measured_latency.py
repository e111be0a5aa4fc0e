"""The latency of a file as a goal means it, from a benchmark beside the original."""

from __future__ import annotations

from dataclasses import dataclass

from compressc.goal import LatencyBound
from compressc.runtime.bench_result import BenchResult


@dataclass(frozen=True)
class MeasuredLatency:
    """What a benchmark says about a bound.

    Attributes:
        reached_ms: of the compressed file.
        original_ms: of the original.
        how: how it was measured, in words.
    """

    reached_ms: float
    original_ms: float
    how: str

    @property
    def share(self) -> float:
        """The part of the original's latency that is left."""
        return self.reached_ms / self.original_ms


def read_latency(bound: LatencyBound, bench: BenchResult) -> MeasuredLatency:
    """Return what was measured of the second file against the first, the original.

    On a busy machine wall time says more about its neighbours than about the files: CPU time
    counts then, unless several threads share it and milliseconds are asked for.
    """
    before, after = bench.measurements[:2]
    alone = bound.relative or after.threads == 1
    if not bench.quietness.is_quiet and alone and before.cpu_ms > 0 and after.cpu_ms > 0:
        return MeasuredLatency(
            after.cpu_ms, before.cpu_ms, "measured by CPU time, since the machine was busy"
        )
    original = float(getattr(before, f"latency_{bound.percentile}_ms"))
    reached = float(getattr(after, f"latency_{bound.percentile}_ms"))
    if bound.relative and bound.percentile == "p50":
        # Pairs of neighbouring rounds: drifts of the machine cancel out.
        reached = bench.ratios[1].value * original
        return MeasuredLatency(
            reached, original, "wall time at p50, compared in neighbouring rounds"
        )
    return MeasuredLatency(reached, original, f"wall time at {bound.percentile}")
