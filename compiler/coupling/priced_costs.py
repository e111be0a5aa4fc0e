"""What a plan costs where zeros have a price of their own: channels, ranks and zeros."""

from __future__ import annotations

from dataclasses import replace

from compressc.costs import Cost
from compressc.coupling.graph import Coupling
from compressc.coupling.weight_masks import staying_weights
from compressc.plan import Plan
from compressc.zero_price import DENSE, ZeroPrice


def price_plan(coupling: Coupling, plan: Plan, price: ZeroPrice) -> Cost:
    """Return the cost of a plan, in well under a millisecond where it has no zeros.

    Args:
        coupling: of the original.
        plan: fits the coupling.
        price: what a zero of a mask costs. For ``DENSE`` it is :meth:`Coupling.cost`, which every
            result is verified against.

    Raises:
        PlanError: if a layer of ``rank`` cannot be factorised.
    """
    cost = coupling.cost(plan)
    if not plan.zero or price == DENSE:
        return cost
    model, kept = coupling.cost_model(plan), coupling.kept(plan)
    terms = model.macs_terms.values(model.counts(kept))
    propagation = coupling.propagation
    weights = [propagation.canonical.get(term.weight, "") for term in propagation.records.macs]
    staying = staying_weights(coupling, plan, plan.zero) if plan.keep else {}
    macs, params, size_bytes = float(cost.macs), float(cost.params), float(cost.size_bytes)
    living = coupling.living_tensors(plan.choice) if plan.choice else None
    for name, mask in plan.zero.items():
        if living is not None and propagation.canonical[name] not in living:
            continue
        alive = staying.get(name)
        total = mask.size if alive is None else int(alive.sum())
        zeros = total - int(mask.sum() if alive is None else (mask & alive).sum())
        if not total:
            continue
        first, element = propagation.canonical[name], propagation.tensors[name].element_size()
        whole = sum(terms[place] for place, weight in enumerate(weights) if weight == first)
        macs -= (1 - price.macs) * whole * zeros / total
        params -= (1 - price.params) * zeros
        if price.mask_bits is not None:
            size_bytes -= max(0.0, zeros * element - total * price.mask_bits / 8)
    return replace(cost, macs=round(macs), params=round(params), size_bytes=round(size_bytes))
