"""The score of an individual (Eq. 3 and 4 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isfinite

# exp of more would overflow; the score is 0 to any comparison long before.
_LARGEST_EXPONENT = 600.0


@dataclass(frozen=True)
class Scoring:
    """What is gained per accuracy lost.

    ``score = dFLOPs / PEN_acc`` with
    ``PEN_acc = (acc_o - acc_v) + T(acc_v < acc_thr) * exp(acc_thr - acc_v)``, where accuracies are
    points of the task's metric and dFLOPs the share of the original cost that is saved.

    The paper leaves the denominator 0 for a network that lost nothing, and negative for one that
    gained. Here ``acc_o - acc_v`` is at least ``least_penalty``: losses smaller than that, and
    gains, are taken for the noise of the validation sample, and cost alone decides among them.

    Where a goal bounds the cost itself, what is saved beyond it counts nothing (``most_saved``):
    the paper has no bounds, and who asks for half the FLOPs wants the most accurate half.

    Attributes:
        base_metric: of the original, acc_o.
        threshold: acc_thr.
        original: the original's cost.
        least_penalty: points, above 0.
        most_saved: share of the cost beyond which saving more is worth nothing.
    """

    base_metric: float
    threshold: float
    original: float
    least_penalty: float
    most_saved: float = 1.0

    def score(self, amount: float, metric: float) -> float:
        """Return the score of a network of some cost and metric; higher is better.

        A metric that is not a number scores 0, unless the network is larger than the original.
        """
        saved = min((self.original - amount) / self.original, self.most_saved)
        if not isfinite(metric):
            return min(saved, 0.0)
        penalty = max(self.base_metric - metric, self.least_penalty)
        if metric < self.threshold:
            penalty += exp(min(self.threshold - metric, _LARGEST_EXPONENT))
        return saved / penalty

    def accepts(self, metric: float) -> bool:
        """Return whether a metric is at or above the threshold."""
        return metric >= self.threshold
