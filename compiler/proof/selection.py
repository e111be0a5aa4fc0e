"""Choices of the masked model: every candidate is computed, and the chosen one selected.

Lowering takes branches away; here all of them stay, and the choice is an index into their stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from compressc.choices.operation import CHOOSE

aten = torch.ops.aten


def select_candidates(module: fx.GraphModule, choice: Mapping[str, int]) -> None:
    """Replace, in place, every decided choice by a selection from all of its candidates."""
    for node in list(module.graph.nodes):
        if node.target is not CHOOSE or node.args[1] not in choice:
            continue
        candidates: Any = node.args[0]
        with module.graph.inserting_before(node):
            stacked = module.graph.call_function(aten.stack.default, (list(candidates),))
            chosen = module.graph.call_function(
                aten.select.int, (stacked, 0, choice[str(node.args[1])])
            )
        node.replace_all_uses_with(chosen)
        module.graph.erase_node(node)
