"""Double precision for proofs: also what the graph itself says about types."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

_LOWER = (torch.float32, torch.float16, torch.bfloat16)


def doubled(module: fx.GraphModule) -> fx.GraphModule:
    """Make a module compute in float64, in place, and return it.

    Besides parameters and buffers, types that the graph names (casts, tables made on the fly) are
    raised, so that operands agree.
    """
    for node in module.graph.nodes:
        node.args = pytree.tree_map(_raised, node.args)
        node.kwargs = pytree.tree_map(_raised, node.kwargs)
    module.recompile()
    return module.double()


def _raised(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _LOWER else value
