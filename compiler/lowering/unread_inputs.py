"""Inputs of a layer that it multiplies by nothing but zeros."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, fx

from compressc.array_types import BoolArray

aten = torch.ops.aten

_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)


def find_unread(
    node: fx.Node, operand: fx.Node, axis: int, tensors: Mapping[str, Tensor]
) -> BoolArray | None:
    """Return which positions of an operand meet weights of zero alone, whatever they carry.

    Args:
        node: the layer that reads it.
        operand: what is read.
        axis: of the operand, summed over.
        tensors: parameters and buffers by name.

    Returns:
        True for unread positions, shape (positions,); None where nobody can say.
    """
    weight = node.args[1] if len(node.args) > 1 else None
    if not isinstance(weight, fx.Node) or weight.op != "get_attr" or node.args[0] is not operand:
        return None
    values = tensors[str(weight.target)].detach().cpu()
    last = operand.meta["val"].dim() - 1
    if node.target is aten.linear.default and values.dim() == 2 and axis == last:
        return np.asarray((values == 0).all(dim=0).numpy())
    if node.target not in _CONVOLUTIONS or axis != 1 or last != values.dim() - 1:
        return None
    groups = operand.meta["val"].shape[1] // values.shape[1]
    blocks = values.flatten(2).abs().sum(2).reshape(groups, -1, values.shape[1])
    return np.asarray((blocks == 0).all(dim=1).reshape(-1).numpy())
