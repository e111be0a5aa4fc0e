"""The masked model: the original at full size, in which removed channels are never read.

It is the reference that a lowered model must equal. Every consumer's input slices of removed ids
are zeroed; nodes that compute statistics over channels run over the kept ones. Nothing here shares
code with lowering but the plan itself (and, for statistics nodes, the edits).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressc.axes import Axes
from compressc.coupling import Coupling
from compressc.errors import RuleError
from compressc.frontend.trainable import share_module
from compressc.kept import Kept
from compressc.program import Program
from compressc.rules.registry import Value


def masked(program: Program) -> fx.GraphModule:
    """Return the program's model at full size with its plan applied as masks.

    The weights are shared with the program (weights under a ``zero`` mask are copied).
    """
    coupling = program.coupling
    kept = coupling.view(program.plan)
    module = share_module(program.graph_module)
    apply_zero_masks(module, program.plan.zero)
    by_name = {node.name: node for node in module.graph.nodes}
    statistics = dict.fromkeys(coupling.propagation.records.statistics)
    for index, found in enumerate(coupling.propagation.records.contractions):
        if found.node in statistics or kept.whole(found.channels):
            continue
        operand = by_name[found.operand]
        consumer = by_name[found.node]
        mask = _broadcastable(kept.mask(found.channels), found.axis, operand)
        with module.graph.inserting_before(consumer):
            silenced = _masked_fill(module, f"_removed_{index}", operand, ~mask)
        _replace_input(consumer, operand, silenced)
    # Statistics come last and in graph order: each one's results move to new nodes.
    values = dict(coupling.propagation.values)
    for name in statistics:
        _restrict_statistics(module, by_name[name], coupling, values, kept)
    module.graph.lint()
    module.recompile()
    module.eval()
    return module


def apply_zero_masks(module: nn.Module, zero: Mapping[str, Any]) -> None:
    """Replace masked parameters by copies with the masked weights set to zero."""
    tensors = dict(module.named_parameters(remove_duplicate=False))
    for name, mask in zero.items():
        original = tensors[name]
        owner, _, attribute = name.rpartition(".")
        gone = torch.as_tensor(~np.asarray(mask), device=original.device)
        fresh = nn.Parameter(original.detach().masked_fill(gone, 0.0), original.requires_grad)
        for other, tensor in tensors.items():
            if tensor is original:
                place, _, leaf = other.rpartition(".")
                setattr(module.get_submodule(place), leaf, fresh)
        setattr(module.get_submodule(owner), attribute, fresh)


def _broadcastable(mask: np.ndarray, axis: int, operand: fx.Node) -> np.ndarray:
    shape = [1] * operand.meta["val"].dim()
    shape[axis] = len(mask)
    return mask.reshape(shape)


def _masked_fill(module: fx.GraphModule, name: str, operand: fx.Node, gone: np.ndarray) -> fx.Node:
    module.register_buffer(name, torch.as_tensor(gone))
    graph = module.graph
    return graph.call_function(
        torch.ops.aten.masked_fill.Scalar, (operand, graph.get_attr(name), 0.0)
    )


def _replace_input(node: fx.Node, old: fx.Node, new: fx.Node) -> None:
    """Replace an operand once: the other operand of ``x @ x`` gets a mask of its own."""
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


def _restrict_statistics(
    module: fx.GraphModule,
    node: fx.Node,
    coupling: Coupling,
    values: dict[str, Value],
    kept: Kept,
) -> None:
    """Run a node on the kept channels only and put the results back at full size.

    ``values`` learns the axes of the nodes that stand for the results from now on.
    """
    graph = module.graph
    with graph.inserting_before(node):
        for source in list(node.all_input_nodes):
            axes = values.get(source.name)
            if isinstance(axes, tuple):
                gathered = _gather(module, source, axes, kept, f"_{node.name}_{source.name}")
                node.replace_input_with(source, gathered)
    for edit in coupling.propagation.records.edits:
        if edit.node == node.name:
            edit.apply(node, kept, module)
    out = values[node.name]
    outputs = [(node, out)]
    if isinstance(out, list):
        outputs = [(user, out[int(user.args[1])]) for user in node.users]  # type: ignore[arg-type]
    for index, (source, axes) in enumerate(outputs):
        if isinstance(axes, tuple):
            with graph.inserting_before(source.next):
                spread = _scatter(module, source, axes, kept, f"_{node.name}_full{index}")
                values[spread.name] = axes


def _gather(module: fx.GraphModule, source: fx.Node, axes: Axes, kept: Kept, name: str) -> fx.Node:
    for axis, channels in enumerate(axes):
        if not kept.whole(channels):
            index = torch.as_tensor(np.flatnonzero(kept.mask(channels)))
            source = _index_select(module, source, axis, index, f"{name}_{axis}")
    return source


def _scatter(module: fx.GraphModule, source: fx.Node, axes: Axes, kept: Kept, name: str) -> fx.Node:
    """Spread kept positions over the full size; removed ones repeat a kept one."""
    users = list(source.users)
    result = source
    for axis, channels in enumerate(axes):
        if not kept.whole(channels):
            mask = kept.mask(channels)
            index = torch.as_tensor(np.maximum(np.cumsum(mask) - 1, 0))
            result = _index_select(module, result, axis, index, f"{name}_{axis}")
    for user in users:
        user.replace_input_with(source, result)
    return result


def _index_select(
    module: fx.GraphModule, source: fx.Node, axis: int, index: Tensor, name: str
) -> fx.Node:
    module.register_buffer(name, index)
    graph = module.graph
    constant = graph.get_attr(name)
    return graph.call_function(torch.ops.aten.index_select.default, (source, axis, constant))
