"""A captured graph as a trainable module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressc.graphs.torch_caches import trim_torch_caches

# Operations whose behaviour differs between training and evaluation, and the position of the flag.
_MODE_ARGUMENT: dict[Any, int] = {
    torch.ops.aten.batch_norm.default: 5,
    torch.ops.aten.instance_norm.default: 5,
    torch.ops.aten.dropout.default: 2,
    torch.ops.aten.dropout_.default: 2,
    torch.ops.aten.feature_dropout.default: 2,
    torch.ops.aten.feature_dropout_.default: 2,
    torch.ops.aten.alpha_dropout.default: 2,
    torch.ops.aten.feature_alpha_dropout.default: 2,
}
_FLAG = "training"
# Positions of a batch norm's momentum and of a dropout's probability.
_MOMENTUM, _PROBABILITY = 6, 1


class ProgramModule(fx.GraphModule):
    """GraphModule whose batch norms and dropouts read ``self.training`` when they run.

    ``train()``, ``eval()`` and ``deepcopy`` are torch's own; pickling (``torch.save``) restores
    the link to the flag, which a plain GraphModule would freeze to its current value.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> ProgramModule:
        clone = clone_module(self)
        copied = ProgramModule(clone, clone.graph)
        copied.train(self.training)
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        linked = tuple(_is_linked(node) for node in _mode_nodes(self.graph))
        rebuild, arguments = super().__reduce__()
        return (_restore, (rebuild, arguments, linked, self.training))


def _mode_nodes(graph: fx.Graph) -> Iterator[fx.Node]:
    return (node for node in graph.nodes if node.target in _MODE_ARGUMENT)


def _is_linked(node: fx.Node) -> bool:
    flag = node.args[_MODE_ARGUMENT[node.target]]
    return isinstance(flag, fx.Node) and flag.op == "get_attr" and flag.target == _FLAG


def _link(node: fx.Node) -> None:
    with node.graph.inserting_before(node):
        flag = node.graph.create_node("get_attr", _FLAG)
    node.update_arg(_MODE_ARGUMENT[node.target], flag)


def _restore(
    rebuild: Callable[..., fx.GraphModule],
    arguments: tuple[Any, ...],
    linked: tuple[bool, ...],
    training: bool,
) -> ProgramModule:
    module = rebuild(*arguments)
    for node, was_linked in zip(list(_mode_nodes(module.graph)), linked, strict=True):
        if was_linked:
            _link(node)
    restored = ProgramModule(module, module.graph)
    return restored.train(training)


def share_module(module: fx.GraphModule, graph: fx.Graph | None = None) -> fx.GraphModule:
    """Return a GraphModule over a copy of the graph that shares parameters and buffers."""
    if graph is None:
        graph = copy_graph(module)
    trim_torch_caches()
    return fx.GraphModule(module, graph)


def copy_graph(module: fx.GraphModule) -> fx.Graph:
    """Return a copy of the module's graph with node names and meta kept."""
    graph = fx.Graph()
    graph.set_codegen(module.graph._codegen)
    values: dict[fx.Node, fx.Node] = {}
    output = graph.graph_copy(module.graph, values)
    end = graph.output(output)
    end.meta = dict(module.graph.output_node().meta)
    return graph


def clone_module(module: fx.GraphModule) -> fx.GraphModule:
    """Return a GraphModule over copies of the graph, the parameters and the buffers."""
    clone = share_module(module)
    seen: dict[int, Tensor] = {}
    for owner in clone.modules():
        for slots in (owner._parameters, owner._buffers):
            for name, tensor in slots.items():
                if tensor is None:
                    continue
                if id(tensor) not in seen:
                    fresh: Tensor = tensor.detach().clone(memory_format=torch.preserve_format)
                    if isinstance(tensor, nn.Parameter):
                        fresh = nn.Parameter(fresh, requires_grad=tensor.requires_grad)
                    seen[id(tensor)] = fresh
                slots[name] = seen[id(tensor)]  # type: ignore[assignment]
    return clone


def trainable(module: fx.GraphModule) -> ProgramModule:
    """Return a trainable copy of a module captured in eval mode.

    Batch norms and dropouts that were inactive follow ``train()`` and ``eval()``; those that the
    model ran in training mode even in evaluation (no running statistics, Monte Carlo dropout)
    stay as they were.
    """
    clone = clone_module(module)
    for node in list(_mode_nodes(clone.graph)):
        if node.args[_MODE_ARGUMENT[node.target]] is False:
            _link(node)
    result = ProgramModule(clone, clone.graph)
    for parameter in result.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return result.eval()


def keep_batch_statistics_only(module: fx.GraphModule) -> None:
    """Let training mode mean nothing but batch statistics, in place.

    Batch norms that follow ``train()`` then leave their running statistics as they are, and
    dropouts drop nothing: what a frozen network needs whose activations somebody else changes.
    """
    for node in _mode_nodes(module.graph):
        if not _is_linked(node):
            continue
        if node.target is torch.ops.aten.batch_norm.default:
            node.update_arg(_MOMENTUM, 0.0)
        elif node.target is not torch.ops.aten.instance_norm.default:
            node.update_arg(_PROBABILITY, 0.0)
    module.recompile()
