"""Attention over three axes, written with the four that the ONNX exporter knows."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, fx

from compressc.frontend.trainable import share_module
from compressc.program import Program

aten = torch.ops.aten
_ATTENTION = aten.scaled_dot_product_attention.default


def with_head_axis(program: Program) -> Program:
    """Return the program with one head in each attention that has no axis of heads.

    Queries (batch, tokens, channels) become (batch, 1, tokens, channels); the numbers stay.
    """
    if not any(_lacks_heads(node) for node in program.graph_module.graph.nodes):
        return program
    module = share_module(program.graph_module)
    graph = module.graph
    for node in [node for node in graph.nodes if _lacks_heads(node)]:
        with graph.inserting_before(node):
            for operand in node.all_input_nodes:
                if operand.meta["val"].dim() == 3:
                    raised = graph.call_function(aten.unsqueeze.default, (operand, 1))
                    node.replace_input_with(operand, raised)
        with graph.inserting_after(node):
            lowered = graph.call_function(aten.squeeze.dim, (node, 1))
        node.replace_all_uses_with(
            lowered, delete_user_cb=lambda user, own=lowered: user is not own
        )
    graph.lint()
    module.recompile()
    return replace(program, graph_module=fx.GraphModule(module, graph), _derived={})


def _lacks_heads(node: fx.Node) -> bool:
    if node.op != "call_function" or node.target is not _ATTENTION:
        return False
    queries = node.args[0]
    value = queries.meta.get("val") if isinstance(queries, fx.Node) else None
    return isinstance(value, Tensor) and value.dim() == 3
