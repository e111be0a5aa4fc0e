"""Knapsack: widths under a latency, as a knapsack of many choices, one rung of one ladder each.

Latency is a staircase: a narrower layer may take as long as a wider one, and what a group costs
depends on the groups before and behind it. So the price of time is bisected: at a price every
group in turn takes the rung that loses least and costs least, given all others, until none
changes. The cheapest price that meets the target is taken, and then single and paired steps that
still fit are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressc.array_types import FloatArray, IntArray
from compressc.latency.latency_model import LatencyModel
from compressc.passes.widths.allocation import Scope
from compressc.passes.widths.ladders import Ladder

_BISECTIONS = 30
_SWEEPS = 8
_EXCHANGES = 60
# What a group must at least be worth to count: keeps the loss finite.
_NOTHING = 1e-6


@dataclass(frozen=True, eq=False)
class LatencyAllocation:
    """The rung of every ladder, shape (ladders,), and the latency predicted for them."""

    rungs: IntArray
    latency_ms: float


def losses_of(ladder: Ladder, scope: Scope, weight: float) -> FloatArray:
    """Return what each rung of a ladder loses, shape (rungs,).

    In a global scope it is the importance of the units that leave. In a uniform one it is
    ``weight * (1 / share - 1)`` of the share of importance that stays: the last units of a group
    are worth far more than the first to leave. So no group is emptied for the sake of others, not
    even of a neighbour whose kernel it shares, where the product of two shares is what takes time.
    """
    gone = float(ladder.worth.sum()) - np.concatenate([[0.0], np.cumsum(ladder.worth)])
    if scope == "global":
        return gone
    if not ladder.steps:
        return np.zeros(1)
    # Units below the lowest rung stay for good; each is worth at least as much as those above.
    base = float(ladder.counts[0] * ladder.priorities[0])
    kept = base + np.concatenate([[0.0], np.cumsum(ladder.worth)])
    if not ladder.counts[0]:
        # Other channels of its axes stay, so a group that vanishes is no infinite loss.
        kept[0] = kept[1] / 2
    shares: FloatArray = np.maximum(kept / max(kept[-1], _NOTHING), _NOTHING)
    losses: FloatArray = weight * (1 / shares - 1)
    return losses


@dataclass(frozen=True, eq=False)
class LatencyAllocator:
    """Chooses rungs of ladders so that a latency is met and little is lost.

    Attributes:
        ladders: one per group that may shrink, in the order of the model's groups.
        losses: what each rung loses, one array per ladder.
        model: of the network's latency.
        lowest: the lowest rung of each ladder that may be taken, shape (ladders,).
    """

    ladders: Sequence[Ladder]
    losses: Sequence[FloatArray]
    model: LatencyModel
    lowest: IntArray

    def allocate(self, target_ms: float) -> LatencyAllocation | None:
        """Return the best allocation there is, or None if even the lowest rungs take longer."""
        top = np.array([ladder.steps for ladder in self.ladders], dtype=np.int64)
        if self._latency(top) <= target_ms:
            return LatencyAllocation(top, self._latency(top))
        best = self.fastest().rungs
        if self._latency(best) > target_ms:
            return None
        low, high = self._prices(top, best)
        rungs = top
        for _ in range(_BISECTIONS):
            price = float(np.sqrt(low * high))
            rungs = self._settle(rungs.copy(), price)
            if self._latency(rungs) <= target_ms:
                high = price
                if self._loss(rungs) <= self._loss(best):
                    best = rungs
            else:
                low = price
        best = self._improve(best.copy(), target_ms)
        return LatencyAllocation(best, self._latency(best))

    def fastest(self) -> LatencyAllocation:
        """Return the widest of the fastest rungs, whatever they lose."""
        rungs = self._settle(self.lowest.copy(), np.inf)
        return LatencyAllocation(rungs, self._latency(rungs))

    def _counts(self, rungs: IntArray) -> IntArray:
        pairs = zip(self.ladders, rungs, strict=True)
        return np.array([ladder.counts[rung] for ladder, rung in pairs], dtype=np.int64)

    def _latency(self, rungs: IntArray) -> float:
        return self.model.latency_ms(self._counts(rungs))

    def _loss(self, rungs: IntArray) -> float:
        return float(sum(loss[rung] for loss, rung in zip(self.losses, rungs, strict=True)))

    def _prices(self, top: IntArray, bottom: IntArray) -> tuple[float, float]:
        """Return a price per millisecond at which all stays, and one at which little does."""
        spans = [float(loss.max() - loss.min()) for loss in self.losses]
        middle = sum(spans) / max(self._latency(top) - self._latency(bottom), 1e-9)
        return 1e-5 * max(middle, 1e-9), 1e5 * max(middle, 1e-9)

    def _settle(self, rungs: IntArray, price: float) -> IntArray:
        """Let every group choose its best rung in turn, until none changes.

        Best is the least sum of loss and ``price`` times milliseconds; at a price of infinity it is
        the widest of the fastest rungs.
        """
        touched = self.model.touched
        counts = self._counts(rungs)
        for _ in range(_SWEEPS):
            changed = False
            for place, ladder in enumerate(self.ladders):
                options = range(int(self.lowest[place]), ladder.steps + 1)
                if len(options) < 2:
                    continue
                times = []
                for rung in options:
                    counts[place] = ladder.counts[rung]
                    times.append(self.model.partial_ms(touched[place], counts))
                losses = self.losses[place][options.start :]
                if np.isinf(price):
                    # The widest of the fastest.
                    best = max(i for i, ms in enumerate(times) if ms <= min(times) * (1 + 1e-9))
                else:
                    best = int(np.argmin(losses + price * np.array(times)))
                chosen = options.start + best
                changed |= chosen != rungs[place]
                rungs[place] = chosen
                counts[place] = ladder.counts[chosen]
            if not changed:
                break
        return rungs

    def _improve(self, rungs: IntArray, target_ms: float) -> IntArray:
        """Climb steps that fit, then trade one group's step for a better one of another."""
        for _ in range(_EXCHANGES):
            better = self._climb(rungs, target_ms)
            if better is None:
                better = self._trade(rungs, target_ms)
            if better is None:
                break
            rungs = better
        return rungs

    def _changes(self, rungs: IntArray, by: int) -> tuple[FloatArray, FloatArray]:
        """Return what moving each group by some rungs adds to the time and to the loss."""
        counts = self._counts(rungs)
        more_ms, more_loss = np.full(len(rungs), np.inf), np.full(len(rungs), np.inf)
        for place, ladder in enumerate(self.ladders):
            rung = int(rungs[place]) + by
            if not int(self.lowest[place]) <= rung <= ladder.steps:
                continue
            terms = self.model.touched[place]
            before = self.model.partial_ms(terms, counts)
            counts[place] = ladder.counts[rung]
            more_ms[place] = self.model.partial_ms(terms, counts) - before
            counts[place] = ladder.counts[rungs[place]]
            more_loss[place] = self.losses[place][rung] - self.losses[place][rungs[place]]
        return more_ms, more_loss

    def _climb(self, rungs: IntArray, target_ms: float) -> IntArray | None:
        """Return the rungs after the one step up that gains most per time; None if none fits."""
        room = target_ms - self._latency(rungs)
        more_ms, more_loss = self._changes(rungs, +1)
        fits = np.flatnonzero((more_ms <= room) & (more_loss <= 0))
        if not len(fits):
            return None
        density = -more_loss[fits] / np.maximum(more_ms[fits], 1e-9)
        climbed = rungs.copy()
        climbed[fits[int(np.argmax(density))]] += 1
        return climbed

    def _trade(self, rungs: IntArray, target_ms: float) -> IntArray | None:
        """Return the rungs after one group went down and another up to lose less, or None."""
        room = target_ms - self._latency(rungs)
        down_ms, down_loss = self._changes(rungs, -1)
        up_ms, up_loss = self._changes(rungs, +1)
        loss = down_loss[:, None] + up_loss[None, :]
        fits = (down_ms[:, None] + up_ms[None, :] <= room) & (loss < -1e-12)
        np.fill_diagonal(fits, False)
        pairs = np.argwhere(fits)
        for down, up in pairs[np.argsort(loss[fits])][:_EXCHANGES]:
            traded = rungs.copy()
            traded[down] -= 1
            traded[up] += 1
            # Neighbours share kernels, so the sum of the two changes was a guess.
            if self._latency(traded) <= target_ms:
                return traded
        return None
