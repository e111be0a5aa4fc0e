"""The ratio of two latencies, with the interval that its noise leaves open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressc.runtime.errors import RuntimeFailure

_RESAMPLES = 2000
# Two sessions of one file differ by half a percent and more, depending on where their memory
# came to lie, and no number of rounds averages that away.
_LAYOUT_SPREAD = 0.01


@dataclass(frozen=True)
class Ratio:
    """Latency over the latency of the first file: below 1 is faster.

    Attributes:
        value: median over rounds of the paired ratio.
        low, high: bootstrap interval of that median, widened by 1 % to either side for what
            differs between two sessions of the same file.
        confidence: of the bootstrap.
    """

    value: float
    low: float
    high: float
    confidence: float

    @property
    def speedup(self) -> float:
        """How many times faster than the first file."""
        return 1.0 / self.value

    @property
    def is_distinct(self) -> bool:
        """Whether the interval leaves out 1: the difference is more than noise."""
        return not self.low <= 1.0 <= self.high


def bootstrap_ratio(
    first_ms: NDArray[np.float64],
    other_ms: NDArray[np.float64],
    seed: int = 0,
    confidence: float = 0.99,
    layout_spread: float = _LAYOUT_SPREAD,
) -> Ratio:
    """Estimate ``other / first`` from times that were taken in the same rounds.

    Ratios are formed within each round, so that a machine that slows down for a while slows both
    down. Rounds next to each other are alike, so blocks of about the cube root of their number
    are drawn (circular block bootstrap) rather than single rounds: the interval gets no
    narrower than the noise allows.

    Args:
        first_ms: times of the first file, one per round, shape (rounds,).
        other_ms: times of the other file in the same rounds, shape (rounds,).
        seed: of the resampling.
        confidence: of the interval.
        layout_spread: share by which the interval is widened to either side, because memory
            layout differs between sessions.

    Raises:
        RuntimeFailure: if the rounds do not pair up, or there are none.
    """
    if first_ms.shape != other_ms.shape or first_ms.size == 0:
        raise RuntimeFailure(
            f"ratio of {first_ms.size} and {other_ms.size} rounds: both files need the same "
            "number of rounds, at least one; measure them in one run"
        )
    logs = np.log(other_ms) - np.log(first_ms)
    count = logs.size
    block = max(1, round(count ** (1 / 3)))
    blocks = -(-count // block)
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, count, (_RESAMPLES, blocks, 1))
    places = (starts + np.arange(block)).reshape(_RESAMPLES, -1)[:, :count] % count
    medians = np.median(logs[places], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    widen = 1 + layout_spread
    return Ratio(
        float(np.exp(np.median(logs))),
        float(np.exp(low)) / widen,
        float(np.exp(high)) * widen,
        confidence,
    )
