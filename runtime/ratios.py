"""The ratio of two latencies, with the interval that its noise leaves open.

Two sessions of one file differ by half a percent and more, depending on where their memory came
to lie, and no number of rounds averages that away. So every file is opened several times, and
the interval comes from how much the ratio differs between the sessions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from compressc.runtime.errors import RuntimeFailure

_RESAMPLES = 2000
_QUANTILE_RESAMPLES = 300
_CALLS_PER_SESSION = 1000
_TRIM_FROM = 8


@dataclass(frozen=True)
class Ratio:
    """Latency over the latency of the first file: below 1 is faster.

    Attributes:
        value: geometric mean over sessions of the median of the rounds' paired ratios; of eight or
            more sessions the fastest and the slowest are left out.
        low, high: bootstrap interval over sessions; over rounds where there is one session.
        confidence: of the interval.
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
    session: NDArray[np.int64] | None = None,
    seed: int = 0,
    confidence: float = 0.99,
) -> Ratio:
    """Estimate ``other / first`` from times that were taken in the same rounds.

    Ratios are formed within each round, so that a machine that slows down for a while slows both
    down. The median of a session's rounds is one draw of what memory placement and the noise of
    that while make of the ratio; sessions are drawn with replacement. A few draws spread less than
    what they come from, so the interval is stretched by Bessel's correction and by Student's over
    the normal quantile.

    With one session the rounds themselves are drawn, in blocks of about the cube root of their
    number, since rounds next to each other are alike (circular block bootstrap); what differs
    between sessions is then not in the interval.

    Args:
        first_ms: times of the first file, one per round, shape (rounds,).
        other_ms: times of the other file in the same rounds, shape (rounds,).
        session: the session of each round, shape (rounds,); None for one session.
        seed: of the resampling.
        confidence: of the interval.

    Raises:
        RuntimeFailure: if the rounds do not pair up, or there are none.
    """
    if first_ms.shape != other_ms.shape or first_ms.size == 0:
        raise RuntimeFailure(
            f"ratio of {first_ms.size} and {other_ms.size} rounds: both files need the same "
            "number of rounds, at least one; measure them in one run"
        )
    logs = np.log(other_ms) - np.log(first_ms)
    sessions = np.zeros(logs.size, dtype=np.int64) if session is None else session
    rng = np.random.default_rng(seed)
    medians = np.array([np.median(logs[sessions == number]) for number in np.unique(sessions)])
    if medians.size == 1:
        center = float(medians[0])
        spread = _medians_of_blocks(logs, rng) - center
    else:
        center = float(_trimmed_mean(medians[None])[0])
        drawn = rng.integers(0, medians.size, (_RESAMPLES, medians.size))
        used = medians.size - 2 * _trimmed(medians.size)
        spread = (_trimmed_mean(medians[drawn]) - center) * stretch(used, confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(spread, [tail, 1 - tail])
    return Ratio(math.exp(center), math.exp(center + low), math.exp(center + high), confidence)


def bootstrap_quantile(
    times_ms: NDArray[np.float64],
    session: NDArray[np.int64],
    quantile: float,
    seed: int = 0,
    confidence: float = 0.99,
) -> tuple[float, float]:
    """Return the interval of a quantile of single calls, sessions drawn with replacement.

    With one session the interval is the point itself: how sessions differ is not known.

    Args:
        times_ms: every call, shape (calls,).
        session: the session of each call, shape (calls,).
        quantile: 0.5 for the median.
        seed: of the resampling.
        confidence: of the interval.
    """
    rng = np.random.default_rng(seed)
    names = np.unique(session)
    point = float(np.quantile(times_ms, quantile))
    if names.size == 1:
        return point, point
    parts = [_thinned(times_ms[session == name], rng) for name in names]
    drawn = rng.integers(0, names.size, (_QUANTILE_RESAMPLES, names.size))
    quantiles = [np.quantile(np.concatenate([parts[i] for i in row]), quantile) for row in drawn]
    spread = (np.array(quantiles) - point) * stretch(names.size, confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(spread, [tail, 1 - tail])
    # Calls take time: the stretched lower end stays above nothing, and both around the point.
    return max(point + min(float(low), 0.0), 0.0), point + max(float(high), 0.0)


def stretch(draws: int, confidence: float) -> float:
    """Return by how much an interval bootstrapped from so few draws is too short."""
    tail = 1 - (1 - confidence) / 2
    bessel = math.sqrt(draws / (draws - 1))
    return bessel * student_quantile(tail, draws - 1) / NormalDist().inv_cdf(tail)


def student_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution, within a percent up to 0.995.

    Source:
        The expansion in powers of 1/freedom (Abramowitz and Stegun, 26.7.5); exact for one and
        two degrees of freedom.
    """
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        return (2 * probability - 1) * math.sqrt(0.5 / (probability * (1 - probability)))
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, start=1)))


def _trimmed(sessions: int) -> int:
    """Return how many sessions are left out at either end: one that others disturbed throughout."""
    return 1 if sessions >= _TRIM_FROM else 0


def _trimmed_mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    cut = _trimmed(rows.shape[1])
    kept = np.sort(rows, axis=1)[:, cut : rows.shape[1] - cut]
    means: NDArray[np.float64] = kept.mean(axis=1)
    return means


def _medians_of_blocks(logs: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    count = logs.size
    block = max(1, round(count ** (1 / 3)))
    blocks = -(-count // block)
    starts = rng.integers(0, count, (_RESAMPLES, blocks, 1))
    places = (starts + np.arange(block)).reshape(_RESAMPLES, -1)[:, :count] % count
    medians: NDArray[np.float64] = np.median(logs[places], axis=1)
    return medians


def _thinned(times: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    if times.size <= _CALLS_PER_SESSION:
        return times
    return rng.choice(times, _CALLS_PER_SESSION, replace=False)
