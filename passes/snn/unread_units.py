"""Unread units: channels whose value nothing reads once some weights are zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from torch import fx

from compressc.array_types import BoolArray
from compressc.channels.axes import size_of, spread
from compressc.coupling.graph import couple
from compressc.passes.snn.switched_layers import SwitchedLayer
from compressc.program import Program


def find_unread(program: Program, reading: Mapping[str, BoolArray]) -> dict[str, BoolArray]:
    """Return, per free group with any, which units nothing reads, shape (units,) each.

    Args:
        program: whose plan does not count.
        reading: per weight of a layer, which of its inputs it reads: those with a weight other than
            zero, shape (inputs,). Every other place reads all it is given.
    """
    coupling = couple(program)
    propagation, class_of = coupling.propagation, coupling.solution.class_of
    nodes = {node.name: node for node in program.graph_module.graph.nodes}
    known = np.zeros(len(coupling.solution.reason_of), dtype=bool)
    read = np.zeros_like(known)
    for contraction in propagation.records.contractions:
        if nodes[contraction.operand].op == "get_attr":
            continue
        weight = propagation.canonical.get(_weight_of(nodes[contraction.node]), "")
        reads = reading.get(weight, np.ones(size_of(contraction.channels), dtype=bool))
        for index, factor in enumerate(contraction.channels):
            if factor.ids is not None:
                classes = class_of[spread(contraction.channels, index)]
                known[classes] = True
                read[classes[reads]] = True
    for name in propagation.records.statistics:
        for source in (nodes[name], *nodes[name].all_input_nodes):
            axes = propagation.values.get(source.name)
            for axis in axes if isinstance(axes, tuple) else ():
                for factor in axis:
                    if factor.ids is not None:
                        read[class_of[factor.ids]] = True
    unread = known & ~read
    return {
        group.name: unread[group.classes]
        for group in coupling.groups
        if group.pinned is None and unread[group.classes].any()
    }


def follow_unread(
    program: Program, layers: Iterable[SwitchedLayer], living: Mapping[str, BoolArray]
) -> tuple[dict[str, BoolArray], dict[str, BoolArray]]:
    """Return which units are unread, those included that only unread units read.

    Args:
        program: whose plan does not count.
        layers: the switched layers.
        living: per weight of theirs, which weights are not zero, in its shape.

    Returns:
        The unread units, as :func:`find_unread`; and ``living`` without what feeds them.
    """
    coupling = couple(program)
    left = {layer.weight: living[layer.weight].copy() for layer in layers}
    unread: dict[str, BoolArray] = {}
    while True:
        reading = {name: _rows(mask).sum(axis=1) > 0 for name, mask in left.items()}
        more = find_unread(program, reading)
        if sum(int(mask.sum()) for mask in more.values()) == sum(
            int(mask.sum()) for mask in unread.values()
        ):
            return more, left
        unread = more
        for name, mask in unread.items():
            for member in coupling.group(name).members:
                if member.tensor in left and member.axis == 0:
                    left[member.tensor][member.position[mask[member.unit]]] = False


def _rows(mask: BoolArray) -> BoolArray:
    """Return what each input of a layer is read with, one row each."""
    return np.moveaxis(mask, 1, 0).reshape(mask.shape[1], -1)


def _weight_of(node: fx.Node) -> str:
    """Return what a node reads as its weight, "" where it has none of its own."""
    source = node.args[1] if len(node.args) > 1 else None
    return str(source.target) if isinstance(source, fx.Node) and source.op == "get_attr" else ""
