"""Staged execution: a graph run over all batches at once, one node after the other.

Calibration changes the weights of a node before the nodes behind it run. Running the network anew
for every layer would cost a forward pass per layer; here every node runs once per batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import networkx as nx
import torch
from torch import Tensor, fx

from compressc.channels.shapes import hinted_shape
from compressc.graphs.data_flow import build_data_flow
from compressc.operators import is_mutating

Batches = Sequence[tuple[Tensor, ...]]


def order_nodes(graph: fx.Graph, late: Callable[[fx.Node], bool]) -> list[fx.Node]:
    """Return the nodes in an order of execution in which late nodes wait for all others they can.

    A shortcut that needs no late node is then computed before the branch beside it, wherever the
    model's code placed it. Graphs with in-place operations keep their order, on which they rely.
    """
    nodes = list(graph.nodes)
    if any(is_mutating(node) for node in nodes):
        return nodes
    position = {node: index for index, node in enumerate(nodes)}
    return list(
        nx.lexicographical_topological_sort(
            build_data_flow(graph), key=lambda node: (late(node), position[node])
        )
    )


def peak_values_per_sample(order: Sequence[fx.Node]) -> int:
    """Return how many numbers are alive at once at the worst node, for one sample."""
    readers = Counter(source for node in order for source in node.all_input_nodes)
    sizes: dict[fx.Node, int] = {}
    peak = 0
    for node in order:
        value = node.meta.get("val")
        if node.op != "get_attr" and isinstance(value, Tensor) and value.dim():
            shape = hinted_shape(value)
            sizes[node] = prod(shape[1:])
        peak = max(peak, sum(sizes.values()))
        for source in node.all_input_nodes:
            readers[source] -= 1
            if not readers[source]:
                sizes.pop(source, None)
    return peak


class StagedExecution:
    """Runs a graph node by node and keeps values only as long as something still reads them.

    Args:
        module: the graph with its tensors; in evaluation mode.
        order: every node once, inputs first.
        batches: the inputs, one tuple of positional arguments per batch.
        kept_for: nodes whose values are read from outside, once for each time they appear; the
            reader calls :meth:`release`.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        order: Sequence[fx.Node],
        batches: Batches,
        kept_for: Iterable[fx.Node] = (),
    ) -> None:
        self._module = module
        self._order = list(order)
        self._batches = batches
        self._next = 0
        self._values: dict[fx.Node, list[Any]] = {}
        self._constants = find_constants(module.graph)
        self._readers: Counter[fx.Node] = Counter(kept_for)
        for node in order:
            self._readers.update(self._sources(node))
        placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
        self._argument = {node: index for index, node in enumerate(placeholders)}

    @property
    def upcoming(self) -> fx.Node | None:
        """The node that runs next, or None at the end."""
        return self._order[self._next] if self._next < len(self._order) else None

    def values(self, node: fx.Node) -> list[Any]:
        """Return the value of a node for every batch."""
        return self._values[node]

    def release(self, node: fx.Node) -> None:
        """Say that one of the readers of a node's values is done."""
        self._readers[node] -= 1
        if not self._readers[node]:
            del self._values[node]

    def advance(self) -> None:
        """Run the next node on every batch."""
        node = self._order[self._next]
        self._next += 1
        if node in self._constants:
            return
        if node.op != "output":
            with torch.no_grad():
                self._values[node] = self._run(node)
        for source in self._sources(node):
            self.release(source)
        if not self._readers[node]:
            self._values.pop(node, None)

    def advance_past(self, node: fx.Node) -> None:
        """Run up to and including a node; nothing if its values are there already."""
        while self.upcoming is not None and node not in self._values:
            self.advance()

    def _sources(self, node: fx.Node) -> list[fx.Node]:
        return [source for source in node.all_input_nodes if source not in self._constants]

    def _run(self, node: fx.Node) -> list[Any]:
        if node.op == "placeholder":
            return [batch[self._argument[node]] for batch in self._batches]
        # Read just now, so that weights that changed meanwhile are seen.
        constants = {
            source: self._constant(source)
            for source in node.all_input_nodes
            if source in self._constants
        }
        results = []
        for index in range(len(self._batches)):
            values = {source: self._values[source][index] for source in self._sources(node)}
            results.append(_call(node, {**constants, **values}))
        return results

    def _constant(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            owner, _, leaf = str(node.target).rpartition(".")
            return getattr(self._module.get_submodule(owner), leaf)
        return _call(node, {source: self._constant(source) for source in node.all_input_nodes})


def find_constants(graph: fx.Graph) -> set[fx.Node]:
    """Return the nodes that depend on parameters and buffers only."""
    constants: set[fx.Node] = set()
    for node in graph.nodes:
        sources = node.all_input_nodes
        computed = node.op == "call_function" and sources and constants.issuperset(sources)
        if node.op == "get_attr" or computed:
            constants.add(node)
    return constants


def _call(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    assert callable(node.target)
    arguments = fx.map_arg(node.args, values.__getitem__)
    keywords = fx.map_arg(node.kwargs, values.__getitem__)
    return node.target(*arguments, **keywords)
