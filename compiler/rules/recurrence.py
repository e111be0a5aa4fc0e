"""Recurrent layers: hidden units leave with their rows in every gate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from compressc.array_types import IntArray
from compressc.channels.axes import Axis, concatenate, exactly, join_axes, plain
from compressc.channels.shapes import hinted_shape, value_of
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value

aten = torch.ops.aten

_GATES: dict[Any, int] = {
    aten.lstm.input: 4,
    aten.gru.input: 3,
    aten.rnn_tanh.input: 1,
    aten.rnn_relu.input: 1,
}


@rule(*_GATES)
def recurrent(site: Site) -> Value:
    """Weights (gates · hidden, in) and (gates · hidden, hidden), biases, per layer and direction.

    The state is one tensor for all layers, so a hidden unit leaves every layer and direction at
    once. With projections only the projected units leave.
    """
    gates = _GATES[site.node.target]
    lstm = site.node.target is aten.lstm.input
    states = list(site.arg("hx")) if lstm else [site.arg("hx")]
    params: list[fx.Node] = list(site.arg("params"))
    per_layer = _count_per_layer(site, params)
    projected = len(params) // per_layer and per_layer in (3, 5)
    hidden, cell = _hidden(site, params, gates, projected=bool(projected))
    if projected:
        site.freeze(exactly(cell), "has projections, which torch tells from cells by their number")
    x = site.axes("input")
    outputs: list[Axis] = []
    directions = 2 if site.arg("bidirectional") else 1
    incoming = x[-1]
    source: fx.Node | None = site.arg("input")
    for start in range(0, len(params), per_layer):
        _couple_layer(site, params[start : start + per_layer], gates, incoming, hidden, cell)
        if source is not None:
            site.contract(source, -1)
        source = None
        outputs.append(exactly(hidden))
        if len(outputs) == directions:
            incoming = concatenate(site.space, outputs, site.name)
            outputs = []
    for state, ids in zip(states, (hidden, cell), strict=False):
        axes = site.axes_of(state)
        if axes is not None:
            join_axes(site.space, axes[-1], exactly(ids), site.name)
            site.freeze_all(axes[:-1], "is a recurrent state")
    site.freeze_all(x[:-1], "is a recurrence over this axis")
    shapes = [site.sizes.shape(value) for value in value_of(site.node)]
    result = [tuple(plain(size) for size in shape[:-1]) for shape in shapes]
    tails: list[Axis] = [incoming, exactly(hidden), exactly(cell)]
    return [(*lead, tail) for lead, tail in zip(result, tails, strict=False)]


def _count_per_layer(site: Site, params: list[fx.Node]) -> int:
    """Return the tensors of one layer and direction: two weights, two biases, a projection."""
    directions = 2 if site.arg("bidirectional") else 1
    return len(params) // (int(site.arg("num_layers")) * directions)


def _hidden(
    site: Site, params: list[fx.Node], gates: int, *, projected: bool
) -> tuple[IntArray, IntArray]:
    """Return fresh ids of the hidden units and of the cell's."""
    rows, columns = value_of(params[1]).shape
    hidden = site.space.fresh(int(columns))
    return hidden, site.space.fresh(int(rows) // gates) if projected else hidden


def _couple_layer(
    site: Site,
    params: list[fx.Node],
    gates: int,
    incoming: Axis,
    hidden: IntArray,
    cell: IntArray,
) -> None:
    gate_rows = exactly(np.tile(cell, gates))
    tokens = value_of(site.arg("input"))
    for index, param in enumerate(params):
        axes = site.axes_of(param)
        if axes is None:
            raise TypeError("a recurrent weight is no tensor")
        projection = index == len(params) - 1 and len(params) in (3, 5)
        rows = exactly(hidden) if projection else gate_rows
        join_axes(site.space, axes[0], rows, site.name)
        if len(axes) == 1:
            continue
        columns = exactly(cell) if projection else incoming if index == 0 else exactly(hidden)
        join_axes(site.space, axes[1], columns, site.name)
        site.contract(param, 1)
        shape = hinted_shape(value_of(param))
        # One product with the whole matrix for every token of every sample.
        site.macs(shape[0] * shape[1], (rows, columns), output=tokens[..., 0])
