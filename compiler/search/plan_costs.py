"""What a plan costs to a search: channels, ranks and zeros."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compressc.costs import Cost
from compressc.coupling.graph import Coupling
from compressc.coupling.weight_masks import staying_weights
from compressc.plan import Plan


@dataclass(frozen=True, eq=False)
class PlanCosts:
    """Costs of plans over one coupling, in well under a millisecond without zeros.

    Zeros of a mask count as what a sparse kernel and compact storage make of them: no MACs, no
    parameter, and a bit instead of a number. ``Coupling.cost``, which the driver verifies, counts
    them as any other weight.
    """

    coupling: Coupling

    def cost(self, plan: Plan) -> Cost:
        """Return the cost of a plan that fits the coupling.

        Raises:
            PlanError: if a layer of ``rank`` cannot be factorised.
        """
        model, kept = self.coupling.cost_model(plan.rank), self.coupling.kept(plan)
        cost = model.cost(kept)
        if not plan.zero:
            return cost
        terms = model.macs_terms.values(model.counts(kept))
        return self._without_zeros(cost, plan, terms)

    def _without_zeros(self, cost: Cost, plan: Plan, terms: np.ndarray) -> Cost:
        propagation = self.coupling.propagation
        weights = [propagation.canonical.get(term.weight, "") for term in propagation.records.macs]
        staying = staying_weights(self.coupling, plan, plan.zero) if plan.keep else {}
        macs, params, size_bytes = float(cost.macs), cost.params, float(cost.size_bytes)
        for name, mask in plan.zero.items():
            alive = staying.get(name)
            total = mask.size if alive is None else int(alive.sum())
            left = int(mask.sum() if alive is None else (mask & alive).sum())
            if not total:
                continue
            first, element = propagation.canonical[name], propagation.tensors[name].element_size()
            whole = sum(terms[i] for i, weight in enumerate(weights) if weight == first)
            macs -= whole * (total - left) / total
            params -= total - left
            size_bytes -= max(0.0, (total - left) * element - total / 8)
        return replace(cost, macs=round(macs), params=params, size_bytes=round(size_bytes))
