"""Bounds: how far the cost of a network is from what a goal allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from compressc.costs import Cost
from compressc.errors import GoalError
from compressc.goal import Bound

# How users read the names of costs.
COST_WORDS = {"macs": "MACs", "params": "parameters", "size_bytes": "bytes"}
# A network that keeps more than this share of a cost has not become smaller.
_WHOLE = 0.999


@dataclass(frozen=True)
class Bounds:
    """The upper bounds of a goal, together with the cost that its ratios are ratios of.

    All distances are shares of the original's cost, so that MACs and bytes can be compared.

    Attributes:
        limits: the bounds by what they bound (macs, params, size_bytes), such as ``Goal.bounds``;
            may be empty.
        original: the cost of the whole original.
    """

    limits: Mapping[str, Bound]
    original: Cost

    def __bool__(self) -> bool:
        return bool(self.limits)

    @property
    def amounts(self) -> dict[str, float]:
        """The most that each bounded cost may be."""
        return {what: self.allowed(what) for what in self.limits}

    def allowed(self, what: str) -> float:
        """Return the most that one cost may be.

        Raises:
            KeyError: if it is not bounded.
        """
        return self.limits[what].absolute(float(getattr(self.original, what)))

    def share(self, what: str, cost: Cost) -> float:
        """Return what share of the original's ``what`` a cost is; 0 where the original has none."""
        return float(getattr(cost, what)) / self._whole(what)

    def slack(self, cost: Cost) -> float:
        """Return how far a cost lies below its tightest bound; infinite without bounds.

        Negative where a bound is broken: then it is by how much.
        """
        return min((self._slack(what, cost) for what in self.limits), default=inf)

    def slacks(self, amounts: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the slack of many networks at once.

        Args:
            amounts: every bounded cost of each network, shape (networks,) each.

        Shape:
            result: (networks,).
        """
        each = [(self.allowed(what) - amounts[what]) / self._whole(what) for what in self.limits]
        tightest: NDArray[np.float64] = np.min(each, axis=0)
        return tightest

    def tightest(self, cost: Cost) -> str:
        """Return the name of the bound with the least slack.

        Raises:
            ValueError: if nothing is bounded.
        """
        return min(self.limits, key=lambda what: self._slack(what, cost))

    def hold(self, cost: Cost) -> bool:
        """Return whether a cost keeps all bounds."""
        return all(float(getattr(cost, what)) <= self.allowed(what) for what in self.limits)

    def in_amounts(self) -> Bounds:
        """Return the same bounds with ratios turned into amounts.

        They mean the same when they are later held against another, smaller original.
        """
        limits = {what: Bound(amount, relative=False) for what, amount in self.amounts.items()}
        return replace(self, limits=limits)

    def tightened(self, share: float) -> Bounds:
        """Return bounds that allow a share less of each amount, for costs that are rounded."""
        limits = {
            what: Bound(amount * (1 - share), relative=False)
            for what, amount in self.amounts.items()
        }
        return replace(self, limits=limits)

    def out_of_reach(
        self, least: Cost, means: str, explanation: str = "", advice: Sequence[str] = ()
    ) -> GoalError:
        """Return the error that says which bound cannot be met, and what to do about it.

        Args:
            least: the lowest cost that was reached.
            means: how it was reached, such as "pruning"; the sentence goes on with "goes only
                down to".
            explanation: what keeps the cost from falling further; may be empty.
            advice: what the user can do besides raising the target, each an imperative.
        """
        what = self.tightest(least)
        limit, amount, share = self.limits[what], getattr(least, what), self.share(what, least)
        ways = list(advice)
        if share < _WHOLE:
            enough = ceil(share * 1000) / 1000 if limit.relative else amount
            ways.insert(0, f"raise the target to about {enough:.10g}")
        parts = (
            f"{what} target {limit.value:g} cannot be reached: {means} goes only down to "
            f"{share:.3g} of the {COST_WORDS[what]} ({amount:.4g})",
            explanation,
            ", or ".join(ways) or "nothing of this model can be made smaller that way",
        )
        return GoalError("; ".join(part for part in parts if part))

    def _slack(self, what: str, cost: Cost) -> float:
        return (self.allowed(what) - float(getattr(cost, what))) / self._whole(what)

    def _whole(self, what: str) -> float:
        # A model without parameters must not divide by zero.
        return max(float(getattr(self.original, what)), 1.0)
