"""Agents: one per unit of every ChannelGroup that may be pruned, and where each one acts.

An agent's action multiplies what layers read of its channels: the inputs of convolutions, linear
layers and matrix products, at the places that rules register as contractions. Batch norms,
depthwise convolutions, additions and poolings have no gate: their channels are silenced where the
next layer reads them, which is what removing them means (see :mod:`compressc.proof.masking`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor, fx

from compressc.array_types import FloatArray, IntArray
from compressc.channels.axes import Axis, spread
from compressc.channels.shapes import value_of
from compressc.coupling.graph import couple
from compressc.operators import is_mutating
from compressc.program import Program


@dataclass(frozen=True, eq=False)
class Gate:
    """Where actions multiply a value.

    Attributes:
        operand: name of the node whose value is multiplied.
        axis: the axis that layers sum over.
        readers: names of the nodes that read the product instead, in graph order.
        agents: per labelled factor of the axis, the agent of each position, ``Agents.count`` where
            there is none; each of shape (size of the axis,).
        rank: number of axes of the value.
        repeats: rows of the value per sample, 0 where its first axis is not the batch.
    """

    operand: str
    axis: int
    readers: tuple[str, ...]
    agents: tuple[IntArray, ...]
    rank: int
    repeats: int


@dataclass(frozen=True, eq=False)
class Agents:
    """The agents of a program, group after group.

    Attributes:
        groups: names of the groups that have agents.
        sizes: units of each.
        gates: where they act.
    """

    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    gates: tuple[Gate, ...]

    @property
    def count(self) -> int:
        """How many agents there are."""
        return sum(self.sizes)

    @cached_property
    def group_of(self) -> IntArray:
        """Index of each agent's group, shape (agents,)."""
        return np.repeat(np.arange(len(self.sizes), dtype=np.int64), self.sizes)

    def by_group(self, values: FloatArray) -> dict[str, FloatArray]:
        """Return one value per agent, shape (agents,), as values per unit by group."""
        parts = np.split(values, np.cumsum(self.sizes)[:-1]) if self.sizes else []
        return dict(zip(self.groups, parts, strict=True))

    def flat(self, values: Mapping[str, FloatArray]) -> FloatArray:
        """Return values per unit by group as one value per agent, shape (agents,)."""
        parts = [values[name] for name in self.groups]
        return np.concatenate(parts) if parts else np.zeros(0)


def find_agents(program: Program) -> Agents:
    """Return the agents of a program.

    Groups that no gate reaches have none, nor have those that an operation reads where no gate can
    be: the state of a recurrent layer, or what is computed from weights alone.
    """
    coupling = couple(program)
    free = [group for group in coupling.groups if group.pinned is None]
    owner = np.full(len(coupling.solution.reason_of), -1, dtype=np.int64)
    for index, group in enumerate(free):
        owner[group.classes] = index
    places = _find_places(program)
    reached: set[int] = set()
    for place in places:
        for factor in place.channels:
            if factor.ids is not None:
                reached.update(owner[coupling.solution.class_of[factor.ids]].tolist())
    reached -= set(owner[_hidden_classes(program)].tolist())
    chosen = [group for index, group in enumerate(free) if index in reached]
    agent_of = np.full(len(owner), sum(group.size for group in chosen), dtype=np.int64)
    start = 0
    for group in chosen:
        agent_of[group.classes] = np.arange(start, start + group.size)
        start += group.size
    gates = (_gate(place, agent_of, coupling.solution.class_of) for place in places)
    return Agents(
        tuple(group.name for group in chosen),
        tuple(group.size for group in chosen),
        tuple(gate for gate in gates if any((part < start).any() for part in gate.agents)),
    )


@dataclass(frozen=True, eq=False)
class _Place:
    operand: str
    axis: int
    readers: tuple[str, ...]
    channels: Axis
    rank: int
    repeats: int


def _find_places(program: Program) -> list[_Place]:
    """Return the activations that layers sum over; readers share a place where nothing is between.

    An operation that changes a value in place may stand between two readers: each then has its own.
    """
    records, values = couple(program).propagation.records, couple(program).propagation.values
    nodes = list(program.graph_module.graph.nodes)
    position = {node.name: index for index, node in enumerate(nodes)}
    living = _activations(program)
    changes = [index for index, node in enumerate(nodes) if is_mutating(node)]
    batch = _batch_size(program)
    found: dict[tuple[str, int, int], list[str]] = {}
    channels: dict[tuple[str, int, int], Axis] = {}
    for one in sorted(records.contractions, key=lambda one: position[one.node]):
        if one.operand not in living:
            continue
        era = int(np.searchsorted(changes, position[one.node]))
        key = (one.operand, one.axis, era)
        found.setdefault(key, []).append(one.node)
        channels[key] = one.channels
    places = []
    for key, readers in found.items():
        axes = values[key[0]]
        if isinstance(axes, tuple):
            repeats = _rows_per_sample(axes[0], batch) if key[1] > 0 else 0
            unique = tuple(dict.fromkeys(readers))
            places.append(_Place(key[0], key[1], unique, channels[key], len(axes), repeats))
    return places


def _activations(program: Program) -> set[str]:
    """Return the names of nodes whose floating-point value depends on the inputs."""
    living: set[fx.Node] = set()
    for node in program.graph_module.graph.nodes:
        if node.op == "placeholder" or any(source in living for source in node.all_input_nodes):
            living.add(node)
    values = {node.name: value_of(node) for node in living}
    return {
        name
        for name, value in values.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }


def _hidden_classes(program: Program) -> IntArray:
    """Return the classes that some node sums over without an activation to be multiplied."""
    class_of, living = couple(program).solution.class_of, _activations(program)
    read: dict[str, set[int]] = {}
    gated: dict[str, set[int]] = {}
    for one in couple(program).propagation.records.contractions:
        ids = [factor.ids for factor in one.channels if factor.ids is not None]
        classes = set(class_of[np.concatenate(ids)].tolist())
        read.setdefault(one.node, set()).update(classes)
        if one.operand in living:
            gated.setdefault(one.node, set()).update(classes)
    hidden = {found for node, all_ in read.items() for found in all_ - gated.get(node, set())}
    return np.array(sorted(hidden), dtype=np.int64)


def _batch_size(program: Program) -> int:
    """Return what stands for the batch on the first axis of values, 0 where inputs differ."""
    sizes = set()
    for node in program.graph_module.graph.nodes:
        axes = couple(program).propagation.values.get(node.name)
        if node.op == "placeholder" and isinstance(axes, tuple) and axes:
            sizes.add(axes[0][0].size)
    return sizes.pop() if len(sizes) == 1 else 0


def _rows_per_sample(axis: Axis, batch: int) -> int:
    """Return how many rows each sample has on a first axis, 0 where samples are not outermost."""
    if not batch or axis[0].size != batch:
        return 0
    return int(np.prod([factor.size for factor in axis[1:]], dtype=np.int64))


def _gate(place: _Place, agent_of: IntArray, class_of: IntArray) -> Gate:
    agents = tuple(
        agent_of[class_of[spread(place.channels, index)]]
        for index, factor in enumerate(place.channels)
        if factor.ids is not None
    )
    return Gate(place.operand, place.axis, place.readers, agents, place.rank, place.repeats)
