"""Unit errors: what the layers that read a unit cannot make up for when it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from compressc.array_types import FloatArray, IntArray
from compressc.channels.shapes import hinted_shape
from compressc.coupling.graph import couple
from compressc.coupling.groups import ChannelGroup
from compressc.operators import argument_of
from compressc.passes.reconstruction.batch_norm_statistics import measure_statistics
from compressc.passes.reconstruction.elimination import eliminate, make_consumer
from compressc.passes.reconstruction.input_moments import measure_moments
from compressc.passes.reconstruction.layers import Layer, find_layers
from compressc.passes.reconstruction.patches import LAYERS
from compressc.passes.reconstruction.staged_execution import Batches, StagedExecution, order_nodes
from compressc.passes.unit_features.weight_norms import measure_relative_norms
from compressc.plan import Plan
from compressc.program import Program

# Damping of the least squares where nobody says.
RIDGE = 1e-3
# A covariance of more features than this is too large to invert: 2 GB in float64.
_MOST_FEATURES = 16_384


def measure_unit_errors(
    program: Program, batches: Batches, ridge: float, progress: Callable[[int, int, str], None]
) -> dict[str, FloatArray]:
    """Return the error of each unit of every group that is not pinned, by group name.

    It is the error that a unit adds to what the layers reading its group compute when it leaves,
    after the units left have made up for it by least squares: see
    :func:`compressc.passes.reconstruction.elimination.eliminate`. Errors are relative to the
    variance of what the layer's output becomes behind its batch norm and residual addition. Groups
    that no convolution or linear layer reads get theirs from the norms of their weights, at the
    level of the others.

    Args:
        program: the original; a pending plan is ignored.
        batches: unlabelled samples.
        ridge: see :func:`compressc.passes.reconstruction.elimination.make_consumer`.
        progress: called with (done, total, text).

    Shape:
        each result: (units,), float64.
    """
    whole = replace(program, plan=Plan())
    order = order_nodes(program.graph_module.graph, lambda node: node.target in LAYERS)
    layers = find_layers(whole, [node.name for node in order])
    study = _Study(whole, layers, ridge)
    nodes = {node.name: node for node in order}
    targets = [nodes[layer.target] for layer in study.awaited]
    run = StagedExecution(program.graph_module, order, batches, targets)
    for done, node in enumerate(order):
        progress(done, len(order), f"studying {node.name}")
        layer = layers.get(node.name)
        if layer is not None and layer in study.awaited:
            study.read(
                layer, run.values(argument_of(node, "input")), hinted_shape(node.meta["val"])
            )
        run.advance()
        for reader in [layer for layer in study.awaited if layer.target == node.name]:
            study.close(reader, run.values(node))
            run.release(node)
    return _complete(whole, study.errors)


class _Study:
    """Collects what layers read, and measures a group once all its readers are known.

    Attributes:
        awaited: layers that read a group, until their output is known.
        errors: what is known so far, by group name.
    """

    def __init__(self, program: Program, layers: Mapping[str, Layer], ridge: float) -> None:
        self._program, self._ridge = program, ridge
        self._readers = _find_readers(program, layers)
        self._open = {group.name: group for group in couple(program).groups}
        self._covariances: dict[str, Tensor] = {}
        self._spreads: dict[str, float] = {}
        self.awaited = list(
            dict.fromkeys(layer for layers in self._readers.values() for layer in layers)
        )
        self.errors: dict[str, FloatArray] = {}

    def read(self, layer: Layer, inputs: list[Tensor], shape: tuple[int, ...]) -> None:
        """Take in what a layer reads; ``shape`` is that of its output."""
        weight = couple(self._program).propagation.tensors[layer.weight]
        moments = measure_moments(layer, weight, inputs, shape)
        self._covariances[layer.node] = moments.covariance.cpu()

    def close(self, layer: Layer, values: list[Tensor]) -> None:
        """Take in what a layer's output becomes, and measure the groups that are complete."""
        self.awaited.remove(layer)
        axis = 1 if layer.geometry.rank else -1
        rows = values if axis == 1 else [v.reshape(-1, v.shape[-1]) for v in values]
        spread = measure_statistics(rows)[1].cpu()
        if layer.addition is None:
            spread = spread * self._scale(layer).square()
        self._spreads[layer.node] = max(float(spread.sum()), torch.finfo(torch.float32).tiny)
        for name, readers in list(self._readers.items()):
            if all(reader.node in self._spreads for reader in readers):
                self.errors[name] = self._measure(self._open[name], readers)
                del self._readers[name]
        needed = {reader.node for readers in self._readers.values() for reader in readers}
        for name in set(self._covariances) - needed:
            del self._covariances[name]

    def _scale(self, layer: Layer) -> Tensor:
        if layer.norm is None:
            return torch.ones(len(layer.outputs), dtype=torch.float64)
        return layer.norm.scale(self._program.state()).cpu()

    def _measure(self, group: ChannelGroup, readers: list[Layer]) -> FloatArray:
        consumers = []
        for layer in readers:
            weight = couple(self._program).propagation.tensors[layer.weight].detach().cpu()
            covariances = self._covariances[layer.node]
            scale = self._scale(layer) / self._spreads[layer.node] ** 0.5
            rows = weight.double().reshape(len(weight), -1) * scale[:, None]
            matrices = rows.reshape(len(covariances), -1, rows.shape[1])
            for index, (matrix, covariance) in enumerate(zip(matrices, covariances, strict=True)):
                units, columns = _find_columns(group, layer, index, len(covariance))
                if len(units):
                    made = make_consumer(matrix, covariance, columns, units, self._ridge)
                    consumers.append(made)
        return eliminate(consumers, group.size)


def _find_readers(program: Program, layers: Mapping[str, Layer]) -> dict[str, list[Layer]]:
    """Return the layers that read each group that may shrink, by group name."""
    tensors = couple(program).propagation.tensors
    by_weight = {
        layer.weight: layer
        for layer in layers.values()
        if tensors[layer.weight][0].numel() <= _MOST_FEATURES
    }
    readers = {}
    for group in couple(program).groups:
        names = [member.tensor for member in group.members if member.role == "in"]
        reading = list(dict.fromkeys(by_weight[name] for name in names if name in by_weight))
        if reading and group.pinned is None:
            readers[group.name] = reading
    return readers


def _find_columns(
    group: ChannelGroup, layer: Layer, conv_group: int, features: int
) -> tuple[IntArray, IntArray]:
    """Return the units that a conv group reads, (units read,), and their features, (.., taps)."""
    channels = len(layer.inputs) // layer.geometry.conv_groups
    taps = features // channels
    first = conv_group * channels
    units, columns = [], []
    for member in group.members:
        if member.tensor == layer.weight and member.role == "in":
            for unit in range(group.size):
                places = member.position[member.unit == unit] - first
                places = places[(places >= 0) & (places < channels)]
                if len(places):
                    units.append(unit)
                    columns.append((places[:, None] * taps + np.arange(taps)).reshape(-1))
    if len({len(features_of_unit) for features_of_unit in columns}) > 1:
        return np.empty(0, np.int64), np.empty((0, 0), np.int64)
    return np.array(units, np.int64), np.array(columns, np.int64)


def _complete(program: Program, errors: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Add the groups that nothing reads, from their weights, at the level of the others."""
    norms = measure_relative_norms(program, "l2")
    means = [float(values.mean()) for values in errors.values()]
    level = float(np.median(means)) if means else 1.0
    return {name: errors.get(name, level * values) for name, values in norms.items()}
