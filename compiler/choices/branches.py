"""Branches: which nodes of a graph are left when choices are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from compressc.choices.blocks import LEFT_OUT, STAYS, Block
from compressc.choices.operation import CHOOSE
from compressc.errors import PlanError
from compressc.operators import is_mutating, schema_of

aten = torch.ops.aten

_ZEROS = (aten.zeros_like.default, aten.zeros.default, aten.new_zeros.default)


@dataclass(frozen=True)
class Choice:
    """One decision.

    Attributes:
        name: of the decision.
        count: of candidates.
        zero: which candidate is zero whatever the input is; None where none is. A choice between
            zero and something else is a connection that may be left out.
    """

    name: str
    count: int
    zero: int | None


@dataclass(frozen=True)
class Branches:
    """A graph as far as choices are concerned; plain values, so that it can travel.

    Attributes:
        inputs: of every node, by name, in graph order.
        places: per node with a choice, the decision's name and the candidates.
        zeros: nodes that are zero whatever the input is.
        sums: per addition of two values of one shape, these two.
        writers: per node that is written to in place, who writes.
        tensors: per node that reads a parameter or buffer, its name.
        ends: nodes that are computed whatever is chosen.
        blocks: residual blocks that may be left out. Until that is decided they stay, so the graph
            computes what it always did.
    """

    inputs: Mapping[str, tuple[str, ...]]
    places: Mapping[str, tuple[str, tuple[str, ...]]]
    zeros: frozenset[str]
    sums: Mapping[str, tuple[str, str]]
    writers: Mapping[str, tuple[str, ...]]
    tensors: Mapping[str, str]
    ends: tuple[str, ...]
    blocks: tuple[Block, ...] = ()

    @cached_property
    def _block_at(self) -> Mapping[str, Block]:
        """The blocks by the node of their sum."""
        return {block.sum: block for block in self.blocks}

    def dropped(self, choice: Mapping[str, int]) -> tuple[Block, ...]:
        """Return the blocks that decisions leave out, in graph order."""
        return tuple(block for block in self.blocks if choice.get(block.name) == LEFT_OUT)

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The architecture choices, in graph order; without them there is no network yet.

        Raises:
            PlanError: if two places of one name have different numbers of candidates.
        """
        by_name: dict[str, Choice] = {}
        for name, candidates in self.places.values():
            zeros = [place for place, node in enumerate(candidates) if node in self.zeros]
            choice = Choice(name, len(candidates), zeros[0] if zeros else None)
            if by_name.setdefault(name, choice).count != choice.count:
                raise PlanError(
                    f"choice '{name}' has {by_name[name].count} candidates in one place and "
                    f"{choice.count} in another; give the places different names"
                )
        return tuple(by_name.values())

    def check(self, choice: Mapping[str, int]) -> None:
        """Check that decisions fit.

        Raises:
            PlanError: naming the choice that does not exist or has no such candidate, or the block
                that has to stay.
        """
        counts = dict.fromkeys((block.name for block in self.blocks), STAYS + 1)
        counts |= {entry.name: entry.count for entry in self.choices}
        for name, index in choice.items():
            if name not in counts:
                raise PlanError(
                    f"choice for '{name}': the program has no architecture node or block of that "
                    "name"
                )
            if not 0 <= index < counts[name]:
                raise PlanError(
                    f"choice for '{name}' is {index}, but it has {counts[name]} candidates: 0 to "
                    f"{counts[name] - 1}"
                )
        for block in self.dropped(choice):
            if block.pinned is not None:
                raise PlanError(f"block '{block.name}' cannot be left out: {block.pinned}")

    def decide(self, choice: Mapping[str, int]) -> Decided:
        """Return what choices make of the graph.

        A decided choice is its candidate. A sum with a connection that was left out is the other
        value, and the sum of a block that was left out is its skip. Where one of the two is
        written to in place, the candidate is copied.
        """
        stands: dict[str, str] = {}
        copies: dict[str, str] = {}
        for node in self.inputs if choice else ():
            chosen = self._replacement(node, choice, stands)
            if chosen is None:
                continue
            (copies if {node, chosen} & self.writers.keys() else stands)[node] = chosen
        return Decided(stands, copies, self._living(stands, copies))

    def _replacement(
        self, node: str, choice: Mapping[str, int], stands: Mapping[str, str]
    ) -> str | None:
        """Return the value that takes a node's place, None where it stays."""
        if node in self.places and self.places[node][0] in choice:
            name, candidates = self.places[node]
            chosen = candidates[choice[name]]
            return stands.get(chosen, chosen)
        block = self._block_at.get(node)
        if block is not None and choice.get(block.name) == LEFT_OUT:
            return stands.get(block.skip, block.skip)
        if node not in self.sums:
            return None
        left, right = self.sums[node]
        for value, other in ((left, right), (right, left)):
            if value in stands and stands[value] in self.zeros:
                return stands.get(other, other)
        return None

    def _living(self, stands: Mapping[str, str], copies: Mapping[str, str]) -> frozenset[str]:
        # By hand: searches decide thousands of times, and on ResNet-56 this takes 0.14 ms where
        # making a networkx graph of what is left and asking for ancestors takes 1.0 ms.
        living: set[str] = set()
        waiting = list(self.ends)
        while waiting:
            node = waiting.pop()
            if node not in living:
                living.add(node)
                sources = (copies[node],) if node in copies else self.inputs[node]
                sources = (*sources, *self.writers.get(node, ()))
                waiting.extend(stands.get(source, source) for source in sources)
        return frozenset(living)


@dataclass(frozen=True)
class Decided:
    """What choices make of a graph, in names of nodes.

    Attributes:
        stands: per node that is needed no more, the node that stands for it.
        copies: per node that becomes a copy of another one, this one.
        living: the nodes that the outputs still depend on.
    """

    stands: Mapping[str, str]
    copies: Mapping[str, str]
    living: frozenset[str]


def read_branches(graph: fx.Graph) -> Branches:
    """Return the branches of a captured graph."""
    inputs, places, zeros, sums, tensors = {}, {}, set(), {}, {}
    writers: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        inputs[node.name] = tuple(source.name for source in node.all_input_nodes)
        if node.op == "get_attr":
            tensors[node.name] = str(node.target)
        elif node.target is CHOOSE:
            candidates: Any = node.args[0]
            places[node.name] = (str(node.args[1]), tuple(value.name for value in candidates))
        elif node.target in _ZEROS:
            zeros.add(node.name)
        elif _adds_alike(node):
            sums[node.name] = (node.args[0].name, node.args[1].name)
        if is_mutating(node):
            for written in _written(node):
                writers[written.name] = (*writers.get(written.name, ()), node.name)
    ends = tuple(n.name for n in graph.nodes if n.op in ("output", "placeholder"))
    return Branches(inputs, places, frozenset(zeros), sums, writers, tensors, ends)


def _adds_alike(node: fx.Node) -> bool:
    """Return whether a node adds two values of one shape and type."""
    if node.target is not aten.add.Tensor or node.kwargs or len(node.args) != 2:
        return False
    kinds = []
    for operand in node.args:
        value = operand.meta.get("val") if isinstance(operand, fx.Node) else None
        if not isinstance(value, Tensor):
            return False
        kinds.append(([str(size) for size in value.shape], value.dtype))
    return kinds[0] == kinds[1]


def _written(node: fx.Node) -> Iterator[fx.Node]:
    """Yield the value that a node writes to, and the values that this is a view of."""
    source = node.args[0] if node.args else None
    while isinstance(source, fx.Node):
        yield source
        schema = schema_of(source)
        aliases = schema is not None and any(r.alias_info is not None for r in schema.returns)
        source = source.args[0] if aliases and source.args else None
