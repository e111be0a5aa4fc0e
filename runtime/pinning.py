"""Pinning: keeping a measurement on cores of its own, where the system allows it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SAMPLE_SECONDS = 0.1
_MOST_BUSY = 0.5
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@contextmanager
def pinned(threads: int) -> Iterator[tuple[int, ...] | None]:
    """Keep the calling thread, and threads it starts meanwhile, on as many cores as threads.

    The quietest cores are taken, one hardware thread of each where there are enough. Sessions must
    be opened inside, since their workers inherit the cores. Where even the quietest core is busy
    nothing is pinned: the system may move a free thread out of the way of others.

    Args:
        threads: threads of each operator.

    Yields:
        The cores, or None where they cannot or should not be chosen.
    """
    cores = choose_cores(threads)
    if cores is None:
        yield None
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores)
    except OSError:
        yield None
        return
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, before)


def choose_cores(threads: int) -> tuple[int, ...] | None:
    """Return the cores to measure on; None where it cannot be or there are too few."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        return None
    busy = busy_shares(allowed)
    cores = pick(allowed, busy, {core: _siblings(core) for core in allowed}, threads)
    return cores if all(busy.get(core, 0.0) <= _MOST_BUSY for core in cores) else None


def pick(
    allowed: list[int], busy: dict[int, float], siblings: dict[int, str], threads: int
) -> tuple[int, ...]:
    """Return the quietest cores; hardware threads of a core already chosen come last."""
    order = sorted(allowed, key=lambda core: (busy.get(core, 0.0), core))
    chosen: list[int] = []
    for fresh_only in (True, False):
        taken = {siblings[core] for core in chosen}
        for core in order:
            if len(chosen) < threads and core not in chosen:
                if fresh_only and siblings[core] in taken:
                    continue
                chosen.append(core)
                taken.add(siblings[core])
    return tuple(sorted(chosen))


def busy_shares(cores: list[int]) -> dict[int, float]:
    """Return the share of a moment each core was busy; empty where the system does not tell."""
    before = _read_ticks()
    if not before:
        return {}
    time.sleep(_SAMPLE_SECONDS)
    after = _read_ticks()
    ticks = _SAMPLE_SECONDS * os.sysconf("SC_CLK_TCK")
    return {core: (after.get(core, 0.0) - before.get(core, 0.0)) / ticks for core in cores}


def _read_ticks() -> dict[int, float]:
    busy: dict[int, float] = {}
    try:
        text = Path("/proc/stat").read_text()
    except OSError:
        return busy
    for line in text.splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and len(ticks) >= 8:
            user, nice, system, _idle, _waiting, irq, soft_irq, steal = map(int, ticks[:8])
            busy[int(name[3:])] = float(user + nice + system + irq + soft_irq + steal)
    return busy


def _siblings(core: int) -> str:
    """Return what names the physical core; the core itself where the system does not tell."""
    try:
        return Path(_TOPOLOGY.format(core)).read_text().strip()
    except OSError:
        return str(core)
