"""How much of the machine others used while we measured, and what that leaves to trust."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressc.runtime.timing import Series

_LEAST_CPU_SHARE = 0.95
_OTHERS_PER_CORE = 0.1
_OTHERS_AT_LEAST = 0.25


@dataclass(frozen=True)
class Snapshot:
    """Times at one moment, in seconds since some origin; None where the system tells nothing."""

    wall: float
    own_cpu: float
    all_cpu: float | None
    load: float | None


@dataclass(frozen=True)
class Quietness:
    """What else went on between two snapshots.

    Attributes:
        cpu_share: CPU time over wall time while one thread was being timed; 1 when nothing took
            the core away. None when more threads than one were timed, where waiting is normal.
        other_cores: cores kept busy by other processes, on average; None where unknown.
        load_before: load average over the minute before the measurement; None where unknown.
        logical_cores: of the machine.
    """

    cpu_share: float | None
    other_cores: float | None
    load_before: float | None
    logical_cores: int

    @property
    def is_quiet(self) -> bool:
        """Whether absolute times can be trusted."""
        return not self.note

    @property
    def note(self) -> str:
        """What disturbed the measurement and what to trust; empty on a quiet machine."""
        signs = []
        if self.cpu_share is not None and self.cpu_share < _LEAST_CPU_SHARE:
            signs.append(f"the process got the CPU only {self.cpu_share:.0%} of the time")
        limit = max(_OTHERS_AT_LEAST, _OTHERS_PER_CORE * self.logical_cores)
        if self.other_cores is not None:
            if self.other_cores > limit:
                signs.append(f"other processes kept {self.other_cores:.1f} cores busy")
        elif self.load_before is not None and self.load_before > limit:
            signs.append(f"the load average was {self.load_before:.1f} before it began")
        if not signs:
            return ""
        return (
            f"The machine was busy ({', '.join(signs)}, of {self.logical_cores} cores). Trust the "
            "ratios, which are taken within each round, and the CPU times; take latencies, above "
            "all p90 and p99, as upper bounds, and repeat on a quiet machine before quoting them."
        )


def take_snapshot() -> Snapshot:
    """Read the clocks of this process and of the whole machine."""
    times = os.times()
    return Snapshot(time.perf_counter(), times.user + times.system, _all_cpu(), _load())


def judge(before: Snapshot, after: Snapshot, cpu_share: float | None) -> Quietness:
    """Compare two snapshots.

    Args:
        before: taken right before the timed rounds.
        after: taken right after them.
        cpu_share: see :class:`Quietness`.
    """
    wall = after.wall - before.wall
    others = None
    if before.all_cpu is not None and after.all_cpu is not None and wall > 0:
        own = after.own_cpu - before.own_cpu
        others = max(0.0, (after.all_cpu - before.all_cpu - own) / wall)
    return Quietness(cpu_share, others, before.load, os.cpu_count() or 1)


def cpu_share(series: Sequence[Series]) -> float:
    """Return CPU time over wall time of timed calls, at most 1; meant for one thread."""
    wall = sum(float(times.wall_ms.sum()) for times in series)
    return min(1.0, sum(float(times.cpu_ms.sum()) for times in series) / wall) if wall else 1.0


def _all_cpu() -> float | None:
    """Return the busy seconds of all cores, the host's share of a virtual machine included."""
    try:
        with Path("/proc/stat").open() as stream:
            ticks = [int(word) for word in stream.readline().split()[1:9]]
        user, nice, system, _idle, _waiting, irq, soft_irq, steal = ticks
        total = user + nice + system + irq + soft_irq + steal
        return total / os.sysconf("SC_CLK_TCK") if total else None
    except (OSError, ValueError):
        return None


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None
