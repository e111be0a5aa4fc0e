"""Double precision for proofs: also what the graph itself says about types."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from compressc.operators import argument_place

_LOWER = (torch.float32, torch.float16, torch.bfloat16)


def doubled(module: fx.GraphModule) -> fx.GraphModule:
    """Make a module compute in float64, in place, and return it.

    Besides parameters and buffers, types that the graph names (casts, tables made on the fly) are
    raised, so that operands agree. What is made without naming a type is made in float64.
    """
    for node in module.graph.nodes:
        if _makes_default_type(node):
            node.update_kwarg("dtype", torch.float64)
        node.args = pytree.tree_map(_raised, node.args)
        node.kwargs = pytree.tree_map(_raised, node.kwargs)
    module.recompile()
    return module.double()


def _raised(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _LOWER else value


def _makes_default_type(node: fx.Node) -> bool:
    """Return whether a node makes floats from nothing, in torch's default type."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.dtype not in _LOWER:
        return False
    reads = any(isinstance(source.meta.get("val"), Tensor) for source in node.all_input_nodes)
    typed = argument_place(node, "dtype") is not None
    return typed and not reads and node.kwargs.get("dtype") is None
