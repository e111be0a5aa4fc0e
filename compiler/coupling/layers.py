"""Costs per layer, the way users read a network."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from math import prod

from compressc.channels.axes import exactly
from compressc.channels.kept import Kept
from compressc.factors.sites import FactorSite
from compressc.rules.propagation import Propagation
from compressc.rules.records import MacsTerm


@dataclass(frozen=True)
class LayerCost:
    """One operation that multiplies.

    Attributes:
        name: the layer (parameter prefix), or the node's name where it has no parameters.
        operation: "conv2d", "linear", "matmul", ...
        macs: multiply-accumulates per sample.
        params: elements of its parameters.
        in_channels, out_channels: kept channels of its weight; 0 where it has none.
    """

    name: str
    operation: str
    macs: int
    params: int
    in_channels: int
    out_channels: int


def layer_costs(
    propagation: Propagation, kept: Kept, living: Set[str] | None = None
) -> tuple[LayerCost, ...]:
    """Return the cost of every multiplying node, in graph order.

    Args:
        propagation: of the whole graph.
        kept: the channels that stay.
        living: the nodes that choices leave; None for all.
    """
    records = propagation.records
    grouped = {weight.tensor: weight for weight in records.grouped_weights}
    read_axes = frozenset(records.read_axes)
    seen: set[str] = set()
    layers: list[LayerCost] = []
    for term in records.macs:
        if living is not None and term.node not in living:
            continue
        macs = float(term.total)
        for channels in term.channels:
            macs *= kept.count(channels) / prod(factor.size for factor in channels)
        weight = propagation.canonical.get(term.weight, "")
        axes = propagation.parameters.get(weight, ())
        counts = [kept.count(axis) for axis in axes]
        read = {axis for axis in range(len(axes)) if (term.weight, axis) in read_axes}
        out_channels = prod(counts[axis] for axis in (0, 1) if axis not in read) if axes else 0
        in_channels = prod(counts[axis] for axis in read) if read else 0
        params = 0
        if term.weight_part:
            in_channels, out_channels, params = _part_cost(propagation, term, kept)
        if weight in grouped:
            in_channels = kept.count(exactly(grouped[weight].columns))
            out_channels = counts[grouped[weight].row_axis]
        elif axes and not read:
            # Depthwise: one input channel for each output channel.
            in_channels, out_channels = counts[0], counts[0]
        if weight and weight not in seen:
            seen.add(weight)
            params = prod(counts)
            if weight in grouped:
                params = (
                    params
                    // counts[grouped[weight].column_axis]
                    * (in_channels // grouped[weight].conv_groups)
                )
        layers.append(
            LayerCost(term.layer, term.operation, round(macs), params, in_channels, out_channels)
        )
    return tuple(layers)


def _part_cost(propagation: Propagation, term: MacsTerm, kept: Kept) -> tuple[int, int, int]:
    """Return input channels, output channels and elements of a weight cut out of a parameter."""
    axes = propagation.values[term.weight_part]
    counts = [kept.count(axis) for axis in axes] if isinstance(axes, tuple) else []
    summed = {
        contraction.axis % len(counts)
        for contraction in propagation.records.contractions
        if (contraction.node, contraction.operand) == (term.node, term.weight_part) and counts
    }
    inputs = prod(counts[axis] for axis in summed)
    outputs = prod(count for axis, count in enumerate(counts) if axis not in summed)
    return inputs, outputs, prod(counts)


def factored_cost(layer: LayerCost, site: FactorSite, ranks: Sequence[int]) -> LayerCost:
    """Return the cost of a layer when it is factorised, all its parts together."""
    inputs, outputs = layer.in_channels, layer.out_channels
    # What axes before the channels lost, the factorised layer loses as well.
    share = layer.macs / max(site.whole_macs(inputs, outputs), 1)
    return replace(
        layer,
        macs=round(share * site.macs(ranks).at(inputs, outputs)),
        params=site.params(ranks).at(inputs, outputs),
    )
