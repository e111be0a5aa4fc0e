"""Applying a plan to a graph: what lowering and the candidates of a search have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import fx, nn

from compressc.array_types import BoolArray
from compressc.coupling.graph import Coupling
from compressc.lowering.dropping import drop_branches
from compressc.lowering.factorization import factorize_layers
from compressc.lowering.fake_values import shrink_values
from compressc.lowering.slicing import slice_tensors
from compressc.plan import Plan

Ranks = Mapping[str, tuple[int, ...]]
PutFactors = Callable[[fx.GraphModule, Coupling, Ranks], None]


def apply_plan(
    module: fx.GraphModule,
    coupling: Coupling,
    plan: Plan,
    *,
    put_factors: PutFactors = factorize_layers,
    follow_values: bool = False,
) -> None:
    """Make a module what a plan says, in place.

    Weights under a mask are set to zero, parameters and buffers sliced, baked sizes rewritten,
    branches that were not chosen dropped, and then the sliced layers that have ranks are
    factorised. Tensors that change are replaced by new ones, so a module that shares them with
    another leaves the other as it is.

    Args:
        module: over the coupled graph; its nodes bear the names that the coupling knows.
        coupling: of the graph.
        plan: what to apply.
        put_factors: puts factors in the place of layers, by the layers' names.
        follow_values: whether the nodes get fake values of their new sizes, which takes time and
            is needed only where the result is coupled or exported.

    Raises:
        PlanError: if the plan does not fit.
    """
    coupling.check(plan)
    kept = coupling.view(plan)
    write_zeros(module, plan.zero)
    if plan.keep:
        slice_tensors(module, coupling, kept)
        by_name = {node.name: node for node in module.graph.nodes}
        for edit in coupling.propagation.records.edits:
            edit.apply(by_name[edit.node], kept, module)
    if follow_values:
        shrink_values(module, coupling, kept)
    drop_branches(module, coupling.branches, plan.choice)
    if plan.rank:
        put_factors(module, coupling, coupling.living_ranks(plan))


def write_zeros(module: nn.Module, zero: Mapping[str, BoolArray]) -> None:
    """Replace masked parameters by copies with the masked weights set to zero; ties stay ties.

    Args:
        module: its parameters are replaced in place.
        zero: per parameter name a mask of the parameter's shape; False becomes zero.
    """
    tensors = dict(module.named_parameters(remove_duplicate=False))
    for name, mask in zero.items():
        original = tensors[name]
        gone = torch.as_tensor(~np.asarray(mask), device=original.device)
        fresh = nn.Parameter(original.detach().masked_fill(gone, 0.0), original.requires_grad)
        for other, tensor in tensors.items():
            if tensor is original:
                owner, _, attribute = other.rpartition(".")
                setattr(module.get_submodule(owner), attribute, fresh)
