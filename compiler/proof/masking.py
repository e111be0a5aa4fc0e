"""The masked model: the original at full size, in which removed channels are never read.

It is the reference that a lowered model must equal. Every consumer's input slices of removed ids
are zeroed; nodes that compute statistics over channels run over the kept ones. Nothing here shares
code with lowering but the plan itself (for statistics nodes also the edits, for factorised layers
the factors, which are multiplied here and chained there).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping

import numpy as np
import torch
from torch import fx

from compressc.array_types import BoolArray
from compressc.channels.axes import Axes
from compressc.channels.edits import Edit
from compressc.channels.kept import Kept
from compressc.coupling.graph import Coupling, couple
from compressc.errors import RuleError
from compressc.graphs.trainable import share_module
from compressc.program import Program
from compressc.proof.factor_products import multiply_factors
from compressc.proof.selection import select_candidates, silence_branches
from compressc.rules.records import Contraction
from compressc.rules.site import Value


def masked(program: Program) -> fx.GraphModule:
    """Return the program's model at full size with its plan applied as masks.

    Of a choice that is made every candidate is computed, and the chosen one selected. A block that
    is left out is computed, and its branch added as zeros. A layer with ranks multiplies by the
    product of its factors instead of its weight. The other weights are shared with the program;
    those under a ``zero`` mask are multiplied by the mask wherever they are read.

    Raises:
        PlanError: if the plan does not fit.
    """
    coupling = couple(program)
    coupling.check(program.plan)
    kept = coupling.view(program.plan)
    module = share_module(program.graph_module)
    silence_branches(module, coupling.branches.dropped(program.plan.choice))
    _Masking(module, coupling, kept).run()
    multiply_factors(module, coupling, kept, program.plan.rank)
    select_candidates(module, program.plan.choice)
    _multiply_zeros(module, coupling, program.plan.zero)
    module.graph.lint()
    module.recompile()
    module.eval()
    return module


def _multiply_zeros(
    module: fx.GraphModule, coupling: Coupling, zero: Mapping[str, BoolArray]
) -> None:
    """Multiply weights by their masks in the graph, in place, wherever they are read.

    Lowering writes zeros into the weights; here the weights stay and a product has the zeros. A
    tied weight is read under several names; the mask of one holds for all.
    """
    canonical = coupling.propagation.canonical
    masks: dict[str, np.ndarray] = {}
    for name, mask in zero.items():
        first = canonical[name]
        masks[first] = np.asarray(mask) & masks.get(first, np.True_)
    buffers: dict[str, str] = {}
    for node in list(module.graph.nodes):
        first = canonical.get(str(node.target), "") if node.op == "get_attr" else ""
        if first not in masks or not node.users:
            continue
        if first not in buffers:
            buffers[first] = f"_zeros_{len(buffers)}"
            module.register_buffer(buffers[first], torch.as_tensor(masks[first]))
        with module.graph.inserting_before(node.next):
            mask_node = module.graph.get_attr(buffers[first])
            product = module.graph.call_function(torch.ops.aten.mul.Tensor, (node, mask_node))
        node.replace_all_uses_with(product, lambda user, product=product: user is not product)


class _Masking:
    """Puts masks and gathers into one graph, node by node in graph order."""

    def __init__(self, module: fx.GraphModule, coupling: Coupling, kept: Kept) -> None:
        self._module = module
        self._kept = kept
        records = coupling.propagation.records
        self._statistics = frozenset(records.statistics)
        self._contractions: dict[str, list[Contraction]] = {}
        for contraction in records.contractions:
            self._contractions.setdefault(contraction.node, []).append(contraction)
        self._edits: dict[str, list[Edit]] = {}
        for edit in records.edits:
            self._edits.setdefault(edit.node, []).append(edit)
        self._by_name = {node.name: node for node in module.graph.nodes}
        # Axes of every node, also of those put in; and what stands for a statistics node's output.
        self._axes: dict[fx.Node, Value] = {
            self._by_name[name]: value
            for name, value in coupling.propagation.values.items()
            if name in self._by_name
        }
        self._spread: dict[fx.Node, fx.Node] = {}
        self._buffers = 0

    def run(self) -> None:
        """Change the graph in place."""
        for node in list(self._module.graph.nodes):
            if node.name in self._statistics:
                self._restrict(node)
            else:
                self._silence(node)

    def _silence(self, node: fx.Node) -> None:
        """Zero the removed positions of every operand that the node sums over."""
        latest: dict[str, fx.Node] = {}
        for contraction in self._contractions.get(node.name, ()):
            if self._kept.whole(contraction.channels):
                continue
            operand = self._by_name[contraction.operand]
            operand = self._spread.get(operand, operand)
            if operand not in node.all_input_nodes:
                # Both axes of one operand are summed over: the masks are put in a row.
                operand = latest.get(contraction.operand, operand)
            shape = [1] * self._by_name[contraction.operand].meta["val"].dim()
            shape[contraction.axis] = -1
            gone = ~self._kept.mask(contraction.channels).reshape(shape)
            graph = self._module.graph
            with graph.inserting_before(node):
                silenced = graph.call_function(
                    torch.ops.aten.masked_fill.Scalar, (operand, self._constant(gone), 0.0)
                )
            replace_operand(node, operand, silenced)
            latest[contraction.operand] = silenced

    def _constant(self, value: np.ndarray) -> fx.Node:
        name = f"_mask_{self._buffers}"
        self._buffers += 1
        self._module.register_buffer(name, torch.as_tensor(value))
        return self._module.graph.get_attr(name)

    def _restrict(self, node: fx.Node) -> None:
        """Run a node on the kept channels only and put the results back at full size."""
        with self._module.graph.inserting_before(node):
            for source in list(node.all_input_nodes):
                axes = self._axes.get(source)
                if isinstance(axes, tuple):
                    node.replace_input_with(source, self._gather(source, axes))
        for edit in self._edits.get(node.name, ()):
            edit.apply(node, self._kept, self._module)
        out = self._axes[node]
        if isinstance(out, list):
            for user in list(node.users):
                if user.target is operator.getitem:
                    self._scatter(user, out[int(user.args[1])])  # type: ignore[arg-type]
        elif out is not None:
            self._scatter(node, out)

    def _gather(self, source: fx.Node, axes: Axes) -> fx.Node:
        for axis, channels in enumerate(axes):
            if not self._kept.whole(channels):
                source = self._select(source, axis, np.flatnonzero(self._kept.mask(channels)))
        return source

    def _scatter(self, source: fx.Node, axes: Axes) -> None:
        """Spread kept positions over the full size; removed ones repeat a kept one."""
        users = list(source.users)
        result = source
        with self._module.graph.inserting_before(source.next):
            for axis, channels in enumerate(axes):
                if not self._kept.whole(channels):
                    places = np.cumsum(self._kept.mask(channels)) - 1
                    result = self._select(result, axis, np.maximum(places, 0))
        if result is source:
            return
        for user in users:
            user.replace_input_with(source, result)
        self._axes[result] = axes
        self._spread[source] = result

    def _select(self, source: fx.Node, axis: int, index: np.ndarray) -> fx.Node:
        constant = self._constant(index)
        return self._module.graph.call_function(
            torch.ops.aten.index_select.default, (source, axis, constant)
        )


def replace_operand(node: fx.Node, old: fx.Node, new: fx.Node) -> None:
    """Replace an operand once: the other operand of ``x @ x`` gets a mask of its own.

    Raises:
        RuleError: if the node does not read ``old``.
    """
    replaced = False

    def swap(argument: fx.Node) -> fx.Node:
        nonlocal replaced
        if argument is old and not replaced:
            replaced = True
            return new
        return argument

    node.args = fx.map_arg(node.args, swap)
    if not replaced:
        node.kwargs = fx.map_arg(node.kwargs, swap)
    if not replaced:
        raise RuleError(f"{node.name} does not read {old.name}; its rule registered a wrong mask")
