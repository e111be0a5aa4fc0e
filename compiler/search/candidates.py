"""Candidates: from a plan to a module that can be evaluated, by the faster of two ways.

Channels leave for real: a masked network is as slow as the original and slower. Zeros are put into
the weights, which no dense kernel minds. Factorised layers become chains, or one layer that
multiplies by the product of its factors, where building the chain would take longer than it saves.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from compressc.coupling.graph import Coupling
from compressc.factors.low_rank import factor_weight
from compressc.graphs.trainable import share_module
from compressc.lowering.factorization import factorize_layers
from compressc.lowering.plan_application import Ranks, apply_plan
from compressc.plan import Plan

# Rewriting a graph takes about as long per node as so many MACs (one thread, AVX-512). The choice
# must not depend on a clock: both ways agree only up to rounding, and searches are repeatable.
_MACS_PER_NODE = 3e6
# Thin layers run so much slower per MAC than the layer they replace.
_CHAIN_PENALTY = 1.7


def build_candidate(
    module: fx.GraphModule,
    coupling: Coupling,
    plan: Plan,
    samples: int,
    mended: Mapping[str, Tensor] | None = None,
) -> fx.GraphModule:
    """Return the network that a plan describes, sharing the weights that it does not change.

    Args:
        module: the original, as :func:`compressc.search.skeleton.strip_program` returns it.
        coupling: of the original.
        plan: fits the coupling.
        samples: on how many it will run.
        mended: tensors that take the place of the module's, in the original's shapes; a repair's.

    Raises:
        PlanError: if the plan does not fit.
    """
    candidate = share_module(module)
    for name, tensor in (mended or {}).items():
        _put_tensor(candidate, name, tensor)
    chained = plan.keep or chains_pay(coupling, plan, len(module.graph.nodes), samples)
    put_factors = factorize_layers if chained else _multiply_factors
    apply_plan(candidate, coupling, plan, put_factors=put_factors)
    candidate.recompile()
    return candidate.eval()


def chains_pay(coupling: Coupling, plan: Plan, nodes: int, samples: int) -> bool:
    """Return whether chains of small layers are evaluated sooner than products of factors."""
    whole = chained = 0.0
    for name, ranks in plan.rank.items():
        site = coupling.factor_sites.site(name)
        outputs, inputs = coupling.propagation.tensors[site.weight].shape[:2]
        whole += site.whole_macs(inputs, outputs)
        chained += site.macs(ranks).at(inputs, outputs)
    return samples * (whole - _CHAIN_PENALTY * chained) > _MACS_PER_NODE * nodes


def _multiply_factors(module: fx.GraphModule, coupling: Coupling, rank: Ranks) -> None:
    for name, ranks in rank.items():
        weight = coupling.factor_sites.site(name).weight
        owner, _, leaf = weight.rpartition(".")
        place = module.get_submodule(owner)
        old = getattr(place, leaf)
        with torch.no_grad():
            product = factor_weight(old, ranks).product().reshape(old.shape).to(old)
        setattr(place, leaf, nn.Parameter(product, requires_grad=False))


def _put_tensor(module: fx.GraphModule, name: str, tensor: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    place = module.get_submodule(owner)
    is_parameter = isinstance(getattr(place, leaf), nn.Parameter)
    setattr(place, leaf, nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)
