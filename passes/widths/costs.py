"""Cost as a function of kept counts: what a search over counts evaluates thousands of times.

Units of one group are interchangeable, so a plan costs what its counts say. Rows of counts are
evaluated together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compressc.array_types import FloatArray, IntArray
from compressc.bounds import Bounds
from compressc.costs import Terms
from compressc.coupling.graph import Coupling
from compressc.coupling.groups import ChannelGroup
from compressc.factors.costs import FactorSavings
from compressc.goal import Bound
from compressc.plan import Plan

# Float sums may fall short of the exact integer by rounding; the exact bound must hold.
_MARGIN = 1e-9
_ROWS = 512


@dataclass(frozen=True, eq=False)
class CountCosts:
    """Distance to the bounds for kept counts of some groups, all others as given.

    Attributes:
        constant: kept positions of every axis without the groups, shape (axes,).
        per_unit: positions that one unit of each group adds, shape (groups, axes).
        terms: every bounded cost by name (macs, params, size_bytes), no layer factorised.
        savings: what factorised layers cost less, or None where there are none.
        bounds: what the costs are held against.
    """

    constant: FloatArray
    per_unit: FloatArray
    terms: Mapping[str, Terms]
    savings: FactorSavings | None
    bounds: Bounds

    def slack(self, counts: IntArray) -> FloatArray:
        """Return how far below its tightest bound each row lies, as a share of the original.

        Negative where a bound is broken.

        Shape:
            counts: (rows, groups); result: (rows,).
        """
        if not len(counts):
            return np.zeros(0)
        chunks = [counts[start : start + _ROWS] for start in range(0, len(counts), _ROWS)]
        return np.concatenate([self._slack(chunk) for chunk in chunks])

    def _slack(self, counts: IntArray) -> FloatArray:
        positions = self.constant + counts @ self.per_unit
        costs = {what: _evaluate(terms, positions) for what, terms in self.terms.items()}
        if self.savings is not None:
            saved = self.savings.saved(positions)
            costs = {what: cost - saved[what] for what, cost in costs.items()}
        return self.bounds.slacks(costs)


def _evaluate(terms: Terms, positions: FloatArray) -> FloatArray:
    products = terms.weights * positions[:, terms.factors].prod(axis=2)
    total: FloatArray = products.sum(axis=1)
    return total


def build_count_costs(
    coupling: Coupling,
    groups: Sequence[ChannelGroup],
    fixed: Mapping[str, int],
    bounds: Mapping[str, Bound],
    rank: Mapping[str, tuple[int, ...]] | None = None,
    choice: Mapping[str, int] | None = None,
) -> CountCosts:
    """Return the cost model of some groups.

    Args:
        coupling: the coupling of the program.
        groups: the groups whose counts vary.
        fixed: kept counts of groups that are decided already, by name.
        bounds: the bounds by what they bound: macs, params, size_bytes.
        rank: ranks of layers that are factorised, by name, as ``Coupling.fit_ranks`` fits them to
            the counts.
        choice: decisions about branches and blocks, by name.
    """
    choice = choice or {}
    model = coupling.costs_under(choice)
    rank = coupling.living_ranks(Plan(rank=rank or {}, choice=choice))
    terms = {
        "macs": model.macs_terms,
        "params": model.params_terms,
        "size_bytes": model.bytes_terms,
    }
    whole = model.counts(np.ones(model.matrix.shape[1], dtype=bool))
    constant = whole.copy()
    for name, count in fixed.items():
        group = coupling.group(name)
        constant -= (group.size - count) * _per_unit(coupling, group)
    per_unit = np.zeros((len(groups), len(whole)))
    for row, group in enumerate(groups):
        per_unit[row] = _per_unit(coupling, group)
        constant -= group.size * per_unit[row]
    return CountCosts(
        constant=constant,
        per_unit=per_unit,
        terms={what: terms[what] for what in bounds},
        savings=coupling.factor_costs.savings(rank) if rank else None,
        bounds=Bounds(bounds, coupling.cost(Plan())).tightened(_MARGIN),
    )


def _per_unit(coupling: Coupling, group: ChannelGroup) -> FloatArray:
    indicator = np.bincount(group.classes, minlength=coupling.costs.matrix.shape[1])
    return np.asarray(coupling.costs.matrix @ indicator, dtype=np.float64) / group.size
