"""Latency as a function of kept counts: the sum of a cost table's kernels at their widths.

The kernels are those of the original network as the runtime executes it. A channel count of a
kernel is a sum over channel groups; pruning changes the counts and nothing else, as long as counts
stay in the steps of the runtime's blocked layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from compressc.array_types import IntArray
from compressc.channels.kept import Kept
from compressc.coupling.graph import Coupling
from compressc.coupling.groups import ChannelGroup
from compressc.coupling.layers import layer_costs
from compressc.latency.network_listing import layer_of
from compressc.plan import Plan
from compressc.runtime.cost_table import CostTable
from compressc.runtime.kernel_kinds import reads_unblocked, reorder_before
from compressc.runtime.kernel_list import KernelList, ListedKernel

# Blocked kernels take channels in fours; other counts leave the layout. Measured on a chain of
# four 3x3 convolutions with 127 channels instead of 128 (AVX-512): 1.39 times slower.
_ALIGNED = 4
_UNALIGNED_PENALTY = 1.4


@dataclass(frozen=True, eq=False)
class Term:
    """One kernel: the width of each of its variables is ``base + rows @ counts``.

    Attributes:
        kernel: as listed.
        base: channels that no group decides, shape (variables,).
        rows: channels per unit of every group, shape (variables, groups).
    """

    kernel: ListedKernel
    base: IntArray
    rows: IntArray


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """Predicts the latency of a network from the kept counts of its groups.

    Attributes:
        table: measured kernels.
        groups: names, in the order of counts.
        sizes: units of each group, shape (groups,).
        terms: the network's kernels.
        scale: measured over predicted latency of the original; 1 where it was not measured.
    """

    table: CostTable
    groups: tuple[str, ...]
    sizes: IntArray
    terms: tuple[Term, ...]
    scale: float = 1.0
    _known: dict[tuple[int, tuple[int, ...]], float] = field(default_factory=dict, repr=False)

    def latency_ms(self, counts: IntArray) -> float:
        """Return the predicted latency of one call; counts of shape (groups,)."""
        terms = range(len(self.terms))
        return self.scale * (self.table.call_ms + sum(self._term_ms(i, counts) for i in terms))

    def without(self, places: Set[int]) -> LatencyModel:
        """Return the model of what is left when some kernels are no longer executed.

        Args:
            places: of these kernels among the terms.
        """
        left = tuple(term for place, term in enumerate(self.terms) if place not in places)
        return replace(self, terms=left, _known={})

    def counts_of(self, plan: Plan) -> IntArray:
        """Return the kept counts under the ``keep`` decisions of a plan, shape (groups,)."""
        kept = [
            int(plan.keep[name].sum()) if name in plan.keep else int(size)
            for name, size in zip(self.groups, self.sizes, strict=True)
        ]
        return np.array(kept, dtype=np.int64)

    @cached_property
    def touched(self) -> tuple[tuple[int, ...], ...]:
        """For each group, the terms that depend on it."""
        return tuple(
            tuple(i for i, term in enumerate(self.terms) if term.rows[:, group].any())
            for group in range(len(self.groups))
        )

    def partial_ms(self, terms: Sequence[int], counts: IntArray) -> float:
        """Return the predicted latency of some kernels only."""
        return self.scale * sum(self._term_ms(index, counts) for index in terms)

    def _term_ms(self, index: int, counts: IntArray) -> float:
        term = self.terms[index]
        widths = tuple(int(w) for w in term.base + term.rows @ counts)
        key = (index, widths)
        if key not in self._known:
            self._known[key] = self._kernel_ms(term.kernel, widths)
        return self._known[key]

    def _kernel_ms(self, kernel: ListedKernel, widths: tuple[int, ...]) -> float:
        if kernel.kind is None:
            return kernel.own_ms
        if any(width <= 0 for width in widths):
            return self.table.node_ms
        kernel_ms = self.table.latency_ms(kernel.kind, widths)
        if kernel_ms is None:
            return kernel.own_ms
        block = self.table.block
        if reads_unblocked(kernel.kind, widths, block) and kernel.widths[0] >= block:
            kernel_ms += self.table.latency_ms(reorder_before(kernel.kind), widths[:1]) or 0.0
        whole = zip(widths, kernel.widths, strict=True)
        if kernel.kind.blocked and any(w % _ALIGNED for w, listed in whole if w != listed):
            return kernel_ms * _UNALIGNED_PENALTY
        return kernel_ms


def build_latency_model(
    coupling: Coupling, kernels: KernelList, table: CostTable, measured_ms: float | None = None
) -> LatencyModel:
    """Return the latency model of a network.

    A kernel that multiplies takes the channels of its layer; any other takes those of the value it
    reads, and a concatenation their sum. Where neither is known its latency stays what it is.

    Args:
        coupling: of the original program.
        kernels: of the original as the target machine executes it.
        table: of the target machine.
        measured_ms: latency of the original there, which the prediction is scaled to.
    """
    groups = tuple(group for group in coupling.groups if group.pinned is None)
    layers = _layer_rows(coupling, groups)
    sizes = np.array([group.size for group in groups], dtype=np.int64)
    made: dict[str, IntArray] = {}
    terms = []
    for kernel in kernels.kernels:
        rows, result = _rows_of(kernel, layers, made, len(groups))
        listed = np.array(kernel.widths, dtype=np.int64)
        base = listed - rows @ sizes
        terms.append(Term(kernel, base, rows))
        for name in kernel.outputs:
            made[name] = result
    model = LatencyModel(table, tuple(group.name for group in groups), sizes, tuple(terms))
    if measured_ms is None:
        return model
    return replace(model, scale=measured_ms / model.latency_ms(sizes), _known={})


def _layer_rows(
    coupling: Coupling, groups: Sequence[ChannelGroup]
) -> dict[str, tuple[IntArray, IntArray]]:
    """Return input and output channels per unit of every group, for each layer by name."""
    kept = np.ones(len(coupling.solution.reason_of), dtype=bool)
    whole = layer_costs(coupling.propagation, Kept(coupling.solution.class_of, kept))
    rows = {
        layer.name: (np.zeros(len(groups), np.int64), np.zeros(len(groups), np.int64))
        for layer in whole
    }
    for place, group in enumerate(groups):
        kept[group.classes[0]] = False
        fewer = layer_costs(coupling.propagation, Kept(coupling.solution.class_of, kept))
        kept[group.classes[0]] = True
        for before, after in zip(whole, fewer, strict=True):
            inputs, outputs = rows[before.name]
            inputs[place] = before.in_channels - after.in_channels
            outputs[place] = before.out_channels - after.out_channels
    return rows


def _rows_of(
    kernel: ListedKernel,
    layers: Mapping[str, tuple[IntArray, IntArray]],
    made: Mapping[str, IntArray],
    groups: int,
) -> tuple[IntArray, IntArray]:
    """Return the rows of a kernel's variables, shape (variables, groups), and of its result."""
    nothing = np.zeros(groups, dtype=np.int64)
    sources = [made[name] for name in kernel.inputs if name in made]
    read = sources[0] if sources else nothing
    kind = kernel.kind
    variables = kind.variables if kind is not None else ()
    layer = layers.get(layer_of(kernel.weight))
    if layer is not None and variables:
        inputs, outputs = layer
        by_name = {"in": inputs, "out": outputs, "c": outputs}
        return np.stack([by_name[name] for name in variables]), outputs
    if kind is not None and kind.op == "Concat" and variables:
        read = np.sum(sources, axis=0, dtype=np.int64) if sources else nothing
    if variables == ("c",):
        return read[None], read
    return np.zeros((len(variables), groups), dtype=np.int64), read
