"""Activation places: where in a network the values of each unit can be seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from compressc.array_types import FloatArray
from compressc.channels.axes import Axes
from compressc.coupling.graph import Coupling, couple
from compressc.plan import Plan
from compressc.program import Program

aten = torch.ops.aten

_RECTIFIERS = frozenset(
    {
        aten.relu.default,
        aten.relu_.default,
        aten.relu6.default,
        aten.relu6_.default,
        aten.hardtanh.default,
        aten.hardtanh_.default,
        aten.leaky_relu.default,
        aten.leaky_relu_.default,
        aten.gelu.default,
        aten.silu.default,
        aten.silu_.default,
        aten.hardswish.default,
        aten.hardswish_.default,
    }
)


def find_places(program: Program) -> dict[str, Axes]:
    """Return the nodes whose outputs show the units, and the axes of these outputs.

    They are the ReLUs, and what other networks have in their place. A group that none of them
    carries (linear between convolution and pooling, as in LeNet5-Caffe) is seen at the outputs of
    its layers.
    """
    coupling = couple(program)
    values = coupling.propagation.values
    rectified: dict[str, Axes] = {}
    for node in program.graph_module.graph.nodes:
        axes = values.get(node.name)
        if node.target in _RECTIFIERS and isinstance(axes, tuple):
            rectified[node.name] = axes
    carried = np.zeros(len(coupling.solution.reason_of), dtype=bool)
    for axes in rectified.values():
        for ids in _ids(axes):
            carried[coupling.solution.class_of[ids]] = True
    places = dict(rectified)
    for term in coupling.propagation.records.macs:
        axes = values.get(term.node)
        if term.weight and isinstance(axes, tuple):
            classes = [coupling.solution.class_of[ids] for ids in _ids(axes)]
            if classes and not any(carried[indices].any() for indices in classes):
                places[term.node] = axes
    return places


def build_whole_module(program: Program) -> fx.GraphModule:
    """Return the network as it is without a pending plan, for evaluation, with its own weights."""
    module = replace(program, plan=Plan()).module().eval()
    assert isinstance(module, fx.GraphModule)
    return module


class Watching(fx.Interpreter):
    """Remembers the values of some nodes.

    Attributes:
        seen: the values of the last run by node name.
    """

    def __init__(self, module: fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self._names = names
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if n.name in self._names and isinstance(value, Tensor):
            # What is computed in place later would be another value under the same name.
            value = value.clone()
            self.seen[n.name] = value
        return value


class ClassTotals:
    """Adds up values per class of coupled channels.

    Attributes:
        sums: so far, shape (classes,).
        counts: how many values were added, shape (classes,).
    """

    def __init__(self, coupling: Coupling) -> None:
        self._coupling = coupling
        self.sums = np.zeros(len(coupling.solution.reason_of))
        self.counts = np.zeros(len(coupling.solution.reason_of))

    @property
    def means(self) -> FloatArray:
        """Mean of all values added, 0 where there are none; shape (classes,)."""
        means: FloatArray = self.sums / np.maximum(self.counts, 1.0)
        return means

    def add(self, values: Tensor, axes: Axes) -> None:
        """Add the value of every position to the class of its channel."""
        for index, axis in enumerate(axes):
            if all(factor.ids is None for factor in axis):
                continue
            others = [other for other in range(values.dim()) if other != index]
            line = values.double().sum(others) if others else values.double()
            sizes = [factor.size for factor in axis]
            if line.numel() != np.prod(sizes):
                # The batch is a part of this axis: its own size comes first.
                sizes[0] = line.numel() // int(np.prod(sizes[1:]))
            block = line.cpu().numpy().reshape(sizes)
            for place, factor in enumerate(axis):
                if factor.ids is not None:
                    rest = tuple(other for other in range(len(sizes)) if other != place)
                    classes = self._coupling.solution.class_of[factor.ids]
                    np.add.at(self.sums, classes, block.sum(axis=rest))
                    np.add.at(self.counts, classes, values.numel() / factor.size)


def _ids(axes: Axes) -> list[np.ndarray]:
    return [factor.ids for axis in axes for factor in axis if factor.ids is not None]
