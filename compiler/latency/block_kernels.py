"""Block kernels: which kernels of a network go when a residual block is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import networkx as nx

from compressc.choices.blocks import Block
from compressc.latency.network_listing import layer_of
from compressc.runtime.kernel_list import ListedKernel


def find_block_kernels(
    kernels: Sequence[ListedKernel], blocks: Iterable[Block]
) -> Mapping[str, frozenset[int]]:
    """Return the places of the kernels that go with each block, by the block's name.

    They are the kernels that multiply by weights of the block, and those whose results nothing but
    such kernels reads. A sum of its own, behind the block, is not counted.

    Args:
        kernels: of the original, in order of execution.
        blocks: of the same network; layers are recognised by the names of their weights.
    """
    made = {name: place for place, kernel in enumerate(kernels) for name in kernel.outputs}
    flow = nx.DiGraph()
    flow.add_nodes_from(range(len(kernels)))
    for place, kernel in enumerate(kernels):
        flow.add_edges_from((made[name], place) for name in kernel.inputs if name in made)
    layers = [layer_of(kernel.weight) if kernel.weight else "" for kernel in kernels]
    return {block.name: _places(flow, layers, set(block.layers)) for block in blocks}


def _places(flow: nx.DiGraph, layers: Sequence[str], own: set[str]) -> frozenset[int]:
    inside = {place for place, layer in enumerate(layers) if layer in own}
    if not inside:
        return frozenset()
    last = max(inside)
    for place in reversed(range(last)):
        readers = set(flow.successors(place))
        # What the last kernel reads beside others is the skip, which a fused sum adds.
        is_skip = last in readers and len(readers) > 1
        if not layers[place] and readers and readers <= inside and not is_skip:
            inside.add(place)
    return frozenset(inside)
