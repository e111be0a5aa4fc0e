"""Dropping the branches of a graph that were not chosen."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from compressc.choices.branches import Branches


def drop_branches(module: fx.GraphModule, branches: Branches, choice: Mapping[str, int]) -> None:
    """Put the chosen candidates in the place of decided choices, and remove what nobody reads.

    What was not read before, either, stays. A sum loses the connections that were left out.

    Args:
        module: over the graph that the branches were read from; changed in place.
        branches: of the graph.
        choice: decisions, by name; choices without one stay.
    """
    if not choice:
        return
    decided = branches.decide(choice)
    by_name = {node.name: node for node in module.graph.nodes}
    for name, other in decided.copies.items():
        by_name[name].target = torch.ops.aten.clone.default
        by_name[name].args = (by_name[other],)
    for name, other in decided.stands.items():
        by_name[name].replace_all_uses_with(by_name[other])
    gone = branches.decide({}).living - decided.living
    for node in reversed(list(module.graph.nodes)):
        if node.name in gone and not node.users:
            module.graph.erase_node(node)
