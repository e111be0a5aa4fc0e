"""Fake values of a lowered graph: every node gets one of its new size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from compressc.channels.axes import Axis
from compressc.channels.kept import Kept
from compressc.coupling.graph import Coupling
from compressc.rules.propagation import named_tensors
from compressc.rules.site import Value


def shrink_values(module: fx.GraphModule, coupling: Coupling, kept: Kept) -> None:
    """Give every node the fake value of its new size, so the result can be coupled again."""
    tensors = named_tensors(module)
    for node in module.graph.nodes:
        value = coupling.propagation.values.get(node.name)
        if value is None:
            continue
        fake = node.meta.get("val")
        if node.op == "get_attr" and isinstance(fake, Tensor):
            # The weight of a grouped convolution has lost more than its axes say.
            shape = tensors[str(node.target)].shape
            node.meta["val"] = fake if fake.shape == shape else fake.new_empty(shape)
        else:
            node.meta["val"] = _shrunk(fake, value, kept)
        node.meta.pop("tensor_meta", None)


def _shrunk(fake: Any, value: Value, kept: Kept) -> Any:
    if isinstance(fake, Tensor) and isinstance(value, tuple):
        if all(kept.whole(axis) for axis in value):
            return fake
        shape = [_size(fake, i, axis, kept) for i, axis in enumerate(value)]
        return fake.new_empty(shape)
    if isinstance(fake, (tuple, list)) and isinstance(value, list):
        return tuple(_shrunk(f, v, kept) for f, v in zip(fake, value, strict=True))
    return fake


def _size(fake: Tensor, index: int, axis: Axis, kept: Kept) -> int | torch.SymInt:
    """Return the new size; an axis may be the batch times channels."""
    size: int | torch.SymInt = fake.shape[index]
    for factor in axis:
        if factor.ids is not None:
            size = size // factor.size * int(kept.ids(factor.ids).sum())
    return size
