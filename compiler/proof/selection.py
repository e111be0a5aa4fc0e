"""Choices of the masked model: every candidate is computed, and the chosen one selected.

Lowering takes branches away; here all of them stay. A choice is an index into the stack of its
candidates, and a block that is left out adds zeros to its sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import fx

from compressc.choices.blocks import Block
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


def silence_branches(module: fx.GraphModule, blocks: Iterable[Block]) -> None:
    """Let the branches of blocks contribute nothing to their sums, in place."""
    by_name = {node.name: node for node in module.graph.nodes}
    for block in blocks:
        total, branch = by_name[block.sum], by_name[block.branch]
        with module.graph.inserting_before(total):
            nothing = module.graph.call_function(aten.zeros_like.default, (branch,))
        total.replace_input_with(branch, nothing)
