"""Shares: weights of groups that decide which of them keep a larger share of their channels.

In the uniform scope a group that keeps a share of its importance loses about ``weight / share``
(see :func:`compressc.passes.latency.knapsack.losses_of`), so a group of large weight keeps more.

Why the weights are what they are: the time of a layer falls with the square of the share that
coupled groups keep. If a millisecond is worth ``p``, the best share therefore grows with
``weight / (p * time)``, though more slowly (with a root of it). Weights proportional to time make
all shares equal; weights of ``macs * (macs / time)^n`` give more to groups whose kernels do more
MACs per second, the more so the larger ``n``. By the cost table ``n = 5``, used here, takes 2 % or
so more time off four reference networks than ``n = 3``; higher powers take off little more, and
take the slowest groups down to the floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compressc.array_types import FloatArray
from compressc.coupling.graph import couple
from compressc.latency.latency_model import LatencyModel
from compressc.passes.widths.ladders import Ladder
from compressc.program import Program

# MACs per second count at most this many times above or below the network's average. What cutting
# a group saves is read off a staircase, which may happen to be flat there.
_SPREAD = 2.0
_POWER = 5
_TINY = 1e-9


def weigh_by_time(ladders: Sequence[Ladder], model: LatencyModel) -> FloatArray:
    """Return the time that each group has to do with, largest 1, shape (groups,)."""
    full = model.sizes
    spent = np.array([model.partial_ms(model.touched[i], full) for i in range(len(ladders))])
    weights: FloatArray = spent / max([*spent, _TINY])
    return weights


def weigh_by_throughput(
    ladders: Sequence[Ladder], model: LatencyModel, program: Program
) -> FloatArray:
    """Return weights that let groups of slow MACs shrink more, largest 1, shape (groups,).

    MACs and time of a group are what halving it alone would save.
    """
    whole = couple(program).cost(replace(program.plan, keep={})).macs
    saved_macs, saved_ms = np.zeros(len(ladders)), np.zeros(len(ladders))
    for place, ladder in enumerate(ladders):
        counts = model.sizes.copy()
        before = model.partial_ms(model.touched[place], counts)
        rung = int(np.searchsorted(ladder.counts, ladder.group.size / 2))
        counts[place] = ladder.counts[rung]
        saved_ms[place] = before - model.partial_ms(model.touched[place], counts)
        halved = replace(program.plan, keep={ladder.group.name: ladder.mask(rung)})
        saved_macs[place] = whole - couple(program).cost(couple(program).fit_ranks(halved)).macs
    average = saved_macs.sum() / max(saved_ms.sum(), _TINY)
    relative = saved_macs / np.maximum(saved_ms * average, _TINY * max(whole, 1))
    weights = saved_macs * np.clip(relative, 1 / _SPREAD, _SPREAD) ** _POWER
    largest = max([*weights, _TINY])
    positive: FloatArray = np.maximum(weights / largest, _TINY)
    return positive
