"""Factorised layers of the masked model: the weight becomes the product of its factors.

Lowering chains layers; here the layer stays as it is and multiplies by a weight of low rank, at
full size, computed in the graph. That is another path to the same result.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressc.channels.kept import Kept
from compressc.coupling.graph import Coupling
from compressc.factors.low_rank import factor_weight

aten = torch.ops.aten


def multiply_factors(
    module: fx.GraphModule,
    coupling: Coupling,
    kept: Kept,
    rank: Mapping[str, tuple[int, ...]],
) -> None:
    """Replace, in place, the weights of factorised layers by products of their factors.

    The factors are those of the weight sliced to the channels that stay; removed channels get rows
    and columns of zeros.
    """
    tensors = dict(module.named_parameters(remove_duplicate=False))
    nodes = {str(node.target): node for node in module.graph.nodes if node.op == "get_attr"}
    for index, (layer, ranks) in enumerate(rank.items()):
        site = coupling.factor_sites.site(layer)
        weight = tensors[site.weight].detach()
        rows, columns = (kept.mask(axis) for axis in (site.out_axis, site.in_axis))
        factors = factor_weight(weight[_positions(rows)][:, _positions(columns)], ranks)
        parts = [_embedded(factors.expand, 0, rows), _embedded(factors.reduce, 1, columns)]
        equation = "or,ri->oi"
        if factors.core is not None:
            parts.insert(1, factors.core.flatten(2))
            equation = "or,rsk,si->oik"
        node = nodes[site.weight]
        operands = []
        with module.graph.inserting_before(node.next):
            for number, part in enumerate(parts):
                name = f"_factor_{index}_{number}"
                module.register_parameter(name, nn.Parameter(part, requires_grad=False))
                operands.append(module.graph.get_attr(name))
            product = module.graph.call_function(aten.einsum.default, (equation, operands))
            product = module.graph.call_function(
                aten.reshape.default, (product, list(weight.shape))
            )
        node.replace_all_uses_with(product)


def _positions(mask: np.ndarray) -> Tensor:
    return torch.as_tensor(np.flatnonzero(mask))


def _embedded(factor: Tensor, axis: int, mask: np.ndarray) -> Tensor:
    """Return a factor at full size on one axis, zeros where channels left."""
    shape = list(factor.shape)
    shape[axis] = len(mask)
    return factor.new_zeros(shape).index_copy(axis, _positions(mask), factor)
