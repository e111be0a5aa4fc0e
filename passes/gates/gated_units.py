"""Gated units: where numbers per unit of a ChannelGroup can multiply what layers read.

A factor multiplies its channels at the inputs of convolutions, linear layers and matrix products:
the places that rules register as contractions. Batch norms, depthwise convolutions, additions and
poolings have no gate: a factor of 0 silences channels where the next layer reads them, which is
what removing them means (see :mod:`compressc.proof.masking`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
from torch import Tensor

from compressc.array_types import FloatArray, IntArray
from compressc.channels.axes import Axis, spread
from compressc.channels.shapes import value_of
from compressc.coupling.graph import couple
from compressc.graphs.data_flow import build_data_flow
from compressc.operators import is_mutating
from compressc.program import Program


@dataclass(frozen=True, eq=False)
class Gate:
    """Where factors multiply a value.

    Attributes:
        operand: name of the node whose value is multiplied.
        axis: the axis that layers sum over.
        readers: names of the nodes that read the product instead, in graph order.
        units: per labelled factor of the axis, the unit of each position, ``GatedUnits.count``
            where there is none; each of shape (size of the axis,).
        rank: number of axes of the value.
        repeats: rows of the value per sample, 0 where its first axis is not the batch.
    """

    operand: str
    axis: int
    readers: tuple[str, ...]
    units: tuple[IntArray, ...]
    rank: int
    repeats: int


@dataclass(frozen=True, eq=False)
class GatedUnits:
    """The units of a program that gates can reach, group after group.

    Attributes:
        groups: names of the groups that they belong to.
        sizes: units of each group.
        gates: where they are multiplied.
    """

    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    gates: tuple[Gate, ...]

    @property
    def count(self) -> int:
        """How many units there are."""
        return sum(self.sizes)

    @cached_property
    def group_of(self) -> IntArray:
        """Index of each unit's group, shape (units,)."""
        return np.repeat(np.arange(len(self.sizes), dtype=np.int64), self.sizes)

    def by_group(self, values: FloatArray) -> dict[str, FloatArray]:
        """Return one value per unit, shape (units,), as arrays by group."""
        parts = np.split(values, np.cumsum(self.sizes)[:-1]) if self.sizes else []
        return dict(zip(self.groups, parts, strict=True))

    def flat(self, values: Mapping[str, FloatArray]) -> FloatArray:
        """Return arrays by group as one value per unit, shape (units,)."""
        parts = [values[name] for name in self.groups]
        return np.concatenate(parts) if parts else np.zeros(0)


def find_gated_units(program: Program) -> GatedUnits:
    """Return the units of a program's free groups that gates can reach.

    Groups that no gate reaches are left out, and so are those that an operation reads where no gate
    can be: the state of a recurrent layer, or what is computed from weights alone.
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
    count = sum(group.size for group in chosen)
    unit_of = np.full(len(owner), count, dtype=np.int64)
    start = 0
    for group in chosen:
        unit_of[group.classes] = np.arange(start, start + group.size)
        start += group.size
    gates = (_gate(place, unit_of, coupling.solution.class_of) for place in places)
    return GatedUnits(
        tuple(group.name for group in chosen),
        tuple(group.size for group in chosen),
        tuple(gate for gate in gates if any((part < count).any() for part in gate.units)),
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
    readers_of: dict[tuple[str, int, int], list[str]] = {}
    channels: dict[tuple[str, int, int], Axis] = {}
    for contraction in sorted(records.contractions, key=lambda each: position[each.node]):
        if contraction.operand not in living:
            continue
        era = int(np.searchsorted(changes, position[contraction.node]))
        key = (contraction.operand, contraction.axis, era)
        readers_of.setdefault(key, []).append(contraction.node)
        channels[key] = contraction.channels
    places = []
    for key, readers in readers_of.items():
        axes = values[key[0]]
        if isinstance(axes, tuple):
            repeats = _rows_per_sample(axes[0], batch) if key[1] > 0 else 0
            unique = tuple(dict.fromkeys(readers))
            places.append(_Place(key[0], key[1], unique, channels[key], len(axes), repeats))
    return places


def _activations(program: Program) -> set[str]:
    """Return the names of nodes whose floating-point value depends on the inputs."""
    flow = build_data_flow(program.graph_module.graph)
    inputs = [node for node in flow if node.op == "placeholder"]
    living = set(inputs).union(*(nx.descendants(flow, node) for node in inputs))
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
    for contraction in couple(program).propagation.records.contractions:
        ids = [factor.ids for factor in contraction.channels if factor.ids is not None]
        classes = set(class_of[np.concatenate(ids)].tolist())
        read.setdefault(contraction.node, set()).update(classes)
        if contraction.operand in living:
            gated.setdefault(contraction.node, set()).update(classes)
    hidden = {each for node, classes in read.items() for each in classes - gated.get(node, set())}
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


def _gate(place: _Place, unit_of: IntArray, class_of: IntArray) -> Gate:
    units = tuple(
        unit_of[class_of[spread(place.channels, index)]]
        for index, factor in enumerate(place.channels)
        if factor.ids is not None
    )
    return Gate(place.operand, place.axis, place.readers, units, place.rank, place.repeats)
