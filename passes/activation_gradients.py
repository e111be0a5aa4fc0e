"""Importance of units by the gradients at their activations."""

from __future__ import annotations

from collections.abc import Iterable
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
from compressc.tasks.protocol import Batch, Task

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


def measure_gradient_importance(
    program: Program, task: Task, batches: Iterable[Batch]
) -> dict[str, FloatArray]:
    """Return the importance of each unit of every group that is not pinned, by group name.

    It is the sum of absolute gradients of the loss at the outputs of the ReLUs that carry the
    unit, over samples and positions, divided by its mean over the group.

    Args:
        program: the original; a pending plan is ignored.
        task: its loss.
        batches: inputs and targets.

    Shape:
        each result: (units,), float64.

    Source:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference,
        ICLR 2017, as ASCAI (arXiv 1911.06471) uses it: gradients alone.

    Deviations:
        Other activations count as ReLUs. A group that none of them carries (linear between
        convolution and pooling, as in LeNet5-Caffe) is judged at the outputs of its layers.
    """
    whole = replace(program, plan=Plan())
    coupling = couple(whole)
    groups = [group for group in coupling.groups if group.pinned is None]
    places = _find_places(whole, coupling)
    totals = np.zeros(len(coupling.solution.reason_of))
    if places:
        module = whole.module().eval()
        assert isinstance(module, fx.GraphModule)
        for inputs, targets in batches:
            for name, gradient in _gradients(module, set(places), task, inputs, targets).items():
                _add_classes(totals, coupling, gradient, places[name])
    found = {}
    for group in groups:
        values = totals[group.classes]
        mean = values.mean()
        found[group.name] = values / mean if mean > 0 else np.ones(group.size)
    return found


def _find_places(program: Program, coupling: Coupling) -> dict[str, Axes]:
    """Return the nodes at which gradients count, and the axes of their outputs."""
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
            if classes and not any(carried[found].any() for found in classes):
                places[term.node] = axes
    return places


def _ids(axes: Axes) -> list[np.ndarray]:
    return [factor.ids for axis in axes for factor in axis if factor.ids is not None]


def _gradients(
    module: fx.GraphModule, names: set[str], task: Task, inputs: Any, targets: Any
) -> dict[str, Tensor]:
    """Return the absolute gradient of the loss at each node."""
    run = _Watching(module, names)
    with torch.enable_grad():
        outputs = run.run(*inputs)
        loss = task.loss(outputs, targets)
        watched = {name: value for name, value in run.seen.items() if value.requires_grad}
        found = torch.autograd.grad(loss, list(watched.values()), allow_unused=True)
    return {
        name: gradient.abs()
        for name, gradient in zip(watched, found, strict=True)
        if gradient is not None
    }


class _Watching(fx.Interpreter):
    """Remembers the values of some nodes."""

    def __init__(self, module: fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self._names = names
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._names and isinstance(value, Tensor):
            # What is computed in place later would be another value under the same name.
            value = value.clone()
            self.seen[n.name] = value
        return value


def _add_classes(totals: FloatArray, coupling: Coupling, gradient: Tensor, axes: Axes) -> None:
    """Add the gradient of every position to the class of its channel."""
    for index, axis in enumerate(axes):
        if all(factor.ids is None for factor in axis):
            continue
        others = [other for other in range(gradient.dim()) if other != index]
        line = gradient.double().sum(others) if others else gradient.double()
        sizes = [factor.size for factor in axis]
        if line.numel() != np.prod(sizes):
            # The batch is a part of this axis: its own size comes first.
            sizes[0] = line.numel() // int(np.prod(sizes[1:]))
        block = line.numpy().reshape(sizes)
        for place, factor in enumerate(axis):
            if factor.ids is not None:
                rest = tuple(other for other in range(len(sizes)) if other != place)
                np.add.at(totals, coupling.solution.class_of[factor.ids], block.sum(axis=rest))
