"""Folding: factors become weights, and what is zero then leaves the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from compressc.array_types import BoolArray
from compressc.coupling.graph import couple
from compressc.coupling.weight_masks import staying_weights
from compressc.lowering.constants import absorb_constants, find_dead
from compressc.passes.snn.switched_layers import SwitchedLayer
from compressc.passes.snn.unread_units import follow_unread
from compressc.passes.widths.ladders import sparing_mask
from compressc.program import Program


def fold_factors(
    program: Program,
    network: Mapping[str, Tensor],
    layers: Sequence[SwitchedLayer],
    factors: Sequence[Tensor],
) -> Program:
    """Return an ordinary program that computes what the network does under its factors.

    Neurons leave that nothing reads any more, and those whose value never changes: that goes into
    the biases of their readers. Other zeros of switched weights go into the plan.

    Args:
        program: that was trained.
        network: its weights after training, by name.
        layers: the switched layers.
        factors: of each, (rows, columns) or (rows, 1).
    """
    state = dict(network)
    zero: dict[str, BoolArray] = {}
    for layer, each in zip(layers, factors, strict=True):
        weight = state[layer.weight]
        folded = weight * layer.fit(each.detach()).to(weight)
        state[layer.weight] = folded
        zero[layer.weight] = (folded != 0).cpu().numpy()
    dead, zero = follow_unread(program, layers, zero)
    for layer in layers:
        folded = state[layer.weight]
        folded = folded * torch.from_numpy(zero[layer.weight]).to(folded)
        for name in _names_of(program, layer.weight):
            state[name] = folded
    switched = program.with_state(state)
    for name, mask in find_dead(switched).items():
        dead[name] = dead.get(name, np.zeros_like(mask)) | mask
    keep: dict[str, BoolArray] = {}
    for name, gone in dead.items():
        stays = ~gone
        mask = sparing_mask(couple(switched).group(name), stays.astype(np.float64), stays)
        if not mask.all():
            keep[name] = mask
    plan = program.plan.with_keep(keep)
    # What leaves with its neuron is no zero of the weight that stays.
    for name, stays in staying_weights(couple(switched), plan, zero).items():
        mask = zero[name] | ~stays
        if not mask.all():
            plan = plan.with_zero({name: mask})
    return absorb_constants(switched.with_plan(plan)).program


def _names_of(program: Program, weight: str) -> list[str]:
    """Return all names of a weight: one that is shared may have several."""
    canonical = couple(program).propagation.canonical
    return [name for name, first in canonical.items() if first == weight]
