"""Succession: which layer takes over the work of a block that is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import fx

from compressc.channels.shapes import hinted_shape, value_of
from compressc.choices.blocks import Block
from compressc.choices.branches import Branches
from compressc.operators import argument_of
from compressc.passes.reconstruction.patches import LAYERS

aten = torch.ops.aten

# What changes nothing in evaluation.
_IDLE = frozenset(
    {
        aten.dropout.default,
        aten.dropout_.default,
        aten.clone.default,
        aten.contiguous.default,
    }
)
# What cuts off what is negative, which the same operation behind the block does anyway.
_CUTTING = frozenset({aten.relu.default, aten.relu_.default})


@dataclass(frozen=True)
class Successor:
    """The layer in front of blocks that are left out, and what it aims at instead.

    Attributes:
        layer: its node; None where no single layer can be fitted.
        shortcut: the node whose value is added to what the layer makes; None where nothing is.
        skip: the node that now carries the value alone.
        target: the sum of the last of the blocks, whose original value is aimed at.
        has_norm: whether a batch norm stands behind the layer.
    """

    layer: str | None
    shortcut: str | None
    skip: str
    target: str
    has_norm: bool = False


def find_successors(
    graph: fx.Graph, branches: Branches, choice: Mapping[str, int]
) -> tuple[Successor, ...]:
    """Return who takes over for the blocks that decisions leave out, a run of blocks at a time.

    A layer can take over where nothing but the sum of a block that stays, a batch norm, or
    operations that change no positive value stand between it and the skip, and nothing else reads
    it.

    Args:
        graph: of the original.
        branches: of the graph.
        choice: decisions, by name.
    """
    by_name = {node.name: node for node in graph.nodes}
    dropped = branches.dropped(choice)
    living = branches.decide(choice).living
    gone = {block.sum: block for block in dropped}
    stays = {block.sum: block for block in branches.blocks if block.sum not in gone}
    successors: dict[str, Successor] = {}
    for block in dropped:
        if _is_outermost(block, dropped):
            successor = _walk(block, stays, gone, by_name, living)
            # A later block of the same run takes the place of an earlier one.
            successors[successor.skip] = successor
    return tuple(successors.values())


def _is_outermost(block: Block, dropped: tuple[Block, ...]) -> bool:
    """Return whether no other block that is left out takes this one along."""
    return not any(block.sum in other.nodes for other in dropped)


def _walk(
    block: Block,
    stays: Mapping[str, Block],
    gone: Mapping[str, Block],
    by_name: Mapping[str, fx.Node],
    living: frozenset[str],
) -> Successor:
    """Go back from the skip of a block to the layer that makes its value."""
    node = by_name[block.skip]
    nobody = Successor(None, None, node.name, block.sum)
    shortcut, has_norm = None, False
    shape = _shape(by_name[block.sum])
    while _shape(node) == shape and _readers(node, living, gone) <= 1:
        if node.target in LAYERS:
            return replace(nobody, layer=node.name, shortcut=shortcut, has_norm=has_norm)
        inside = shortcut is not None or has_norm
        if node.name in gone:
            # The run goes on in front: its first skip carries the value of all of it.
            node = by_name[gone[node.name].skip]
            nobody = replace(nobody, skip=node.name)
        elif node.name in stays and not inside:
            shortcut, node = stays[node.name].skip, by_name[stays[node.name].branch]
        elif node.target is aten.batch_norm.default and not has_norm:
            has_norm, node = True, argument_of(node, "input")
        elif node.target in _IDLE or (node.target in _CUTTING and not inside):
            node = node.all_input_nodes[0]
        else:
            break
    return nobody


def _readers(node: fx.Node, living: frozenset[str], gone: Mapping[str, Block]) -> int:
    """Return how many nodes still read a value, the sums of blocks that left counted in."""
    return sum(user.name in living or user.name in gone for user in node.users)


def _shape(node: fx.Node) -> tuple[int, ...]:
    return hinted_shape(value_of(node))
