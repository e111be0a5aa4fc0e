"""Filters that have lost every weight, and the batch norms that would still give them a value."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx

aten = torch.ops.aten

_LAYERS = (
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv1d.padding,
    aten.conv2d.padding,
    aten.conv3d.padding,
    aten.linear.default,
)


def list_speaking(
    norms: Mapping[str, tuple[str, ...]], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return which channels of batch norms still have a filter with weights behind them.

    A filter without weights gives zero, and a batch norm makes a constant of it, which keeps the
    channel from leaving wherever it is padded. Where scale and shift are masked as well, the
    channel is zero and leaves without a trace.

    Args:
        norms: per weight, the scale and shift of the batch norm behind its layer.
        masks: of weights, False where one is masked.

    Returns:
        Per scale and shift one bool per channel, shape (channels,).
    """
    return {
        parameter: masks[name].flatten(1).any(1)
        for name, affine in norms.items()
        if name in masks
        for parameter in affine
    }


def find_norms(module: fx.GraphModule) -> dict[str, tuple[str, ...]]:
    """Return, per weight of a layer without bias, scale and shift of the batch norm behind it.

    Only where the batch norm alone reads the layer, and nothing else its scale and shift.
    """
    parameters = dict(module.named_parameters())
    readers: dict[str, int] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            readers[str(node.target)] = readers.get(str(node.target), 0) + len(node.users)
    norms: dict[str, tuple[str, ...]] = {}
    for node in module.graph.nodes:
        if node.target is not aten.batch_norm.default:
            continue
        layer, *affine = node.args[:3]
        names = [str(each.target) for each in affine if isinstance(each, fx.Node)]
        weight, bias = _weight_and_bias(layer)
        alone = isinstance(layer, fx.Node) and len(layer.users) == 1
        own = all(name in parameters and readers[name] == 1 for name in names)
        if weight in parameters and bias is None and alone and own and readers[weight] == 1:
            norms[weight] = tuple(names)
    return norms


def _weight_and_bias(layer: object) -> tuple[str, object]:
    if not isinstance(layer, fx.Node) or layer.target not in _LAYERS:
        return "", None
    weight = layer.args[1]
    bias = layer.args[2] if len(layer.args) > 2 else layer.kwargs.get("bias")
    named = isinstance(weight, fx.Node) and weight.op == "get_attr"
    return (str(weight.target) if named else ""), bias  # type: ignore[union-attr]
