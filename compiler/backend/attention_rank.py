"""Attention over three or five axes, written with the four that the ONNX exporter knows."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, fx

from compressc.graphs.trainable import share_module
from compressc.program import Program

aten = torch.ops.aten
_ATTENTION = aten.scaled_dot_product_attention.default


def with_head_axis(program: Program) -> Program:
    """Return the program with four axes in every attention; the numbers stay.

    Queries (batch, tokens, channels) become (batch, 1, tokens, channels); of more than four axes
    the first ones become one.
    """
    if not any(_needs_other_rank(node) for node in program.graph_module.graph.nodes):
        return program
    module = share_module(program.graph_module)
    graph = module.graph
    for node in [node for node in graph.nodes if _needs_other_rank(node)]:
        rank = _rank(node.args[0])
        with graph.inserting_before(node):
            leading = [
                graph.call_function(aten.sym_size.int, (node.args[0], axis))
                for axis in range(rank - 3)
            ]
            for operand in node.all_input_nodes:
                if _rank(operand) == rank:
                    node.replace_input_with(operand, _with_four_axes(graph, operand, rank))
        with graph.inserting_after(node):
            target, arguments = (
                (aten.squeeze.dim, (node, 1))
                if rank == 3
                else (aten.unflatten.int, (node, 0, leading))
            )
            restored = graph.call_function(target, arguments)
        node.replace_all_uses_with(
            restored, delete_user_cb=lambda user, own=restored: user is not own
        )
    graph.lint()
    module.recompile()
    return replace(program, graph_module=fx.GraphModule(module, graph), _derived={})


def _with_four_axes(graph: fx.Graph, operand: fx.Node, rank: int) -> fx.Node:
    if rank == 3:
        return graph.call_function(aten.unsqueeze.default, (operand, 1))
    return graph.call_function(aten.flatten.using_ints, (operand, 0, rank - 4))


def _needs_other_rank(node: fx.Node) -> bool:
    if node.op != "call_function" or node.target is not _ATTENTION:
        return False
    rank = _rank(node.args[0])
    mask = _rank(node.args[3]) if len(node.args) > 3 else _rank(node.kwargs.get("attn_mask"))
    # A mask that is stretched over the axes that become one is left to the exporter.
    return rank == 3 or (rank > 4 and mask < 4)


def _rank(node: object) -> int:
    """Return the number of axes of a tensor, 0 of anything else."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return value.dim() if isinstance(value, Tensor) else 0
