"""Canonical forms: rewrites that make a captured graph easier to couple.

Each rewrite keeps the function that the graph computes, in eval and in train mode.
"""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

from compressc.frontend.parameter_folding import fold_parameters
from compressc.frontend.shuffles import rewrite_shuffles
from compressc.operators import is_mutating, schema_of

_ASSERTIONS = ("_assert", "sym_constrain_range", "_guards_fn")


def canonicalize(module: fx.GraphModule) -> None:
    """Apply every rewrite in place to a freshly captured module."""
    _inline_contexts(module)
    _drop_assertions(module.graph)
    rewrite_shuffles(module)
    fold_parameters(module)
    while module.graph.eliminate_dead_code(is_impure_node=_is_impure) or _drop_writes(module.graph):
        pass
    module.graph.lint()
    module.recompile()


def _is_impure(node: fx.Node) -> bool:
    if node.op in ("placeholder", "output"):
        return True
    return is_mutating(node)


def _drop_writes(graph: fx.Graph) -> bool:
    """Erase in-place operations whose result nobody can see, such as a ReLU of an unused head."""
    unseen = [
        node
        for node in reversed(list(graph.nodes))
        if node.op == "call_function"
        and not node.users
        and _is_impure(node)
        and all(_is_private(written, node) for written in _written(node))
    ]
    for node in unseen:
        graph.erase_node(node)
    return bool(unseen)


def _written(node: fx.Node) -> list[object]:
    """Return the operands that an operation writes to."""
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((argument.name for argument in arguments), node.args, strict=False))
    given.update(node.kwargs)
    return [
        given.get(argument.name)
        for argument in arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _is_private(written: object, writer: fx.Node) -> bool:
    """Tell whether a tensor is read by ``writer`` alone and shares its memory with no other."""
    if not isinstance(written, fx.Node) or written.op != "call_function":
        return False
    schema = schema_of(written)
    fresh = schema is not None and all(value.alias_info is None for value in schema.returns)
    return fresh and list(written.users) == [writer]


def _drop_assertions(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        name = str(getattr(node.target, "__name__", node.target))
        if node.op in ("call_function", "call_module") and name.startswith(_ASSERTIONS):
            graph.erase_node(node)


def _inline_contexts(module: fx.GraphModule) -> None:
    """Given a region under autocast or set_grad_enabled. Result: its nodes, inline.

    Export records such regions as a call of a submodule. Inference does not track gradients, and
    a region that autocast would have run in lower precision runs in its own precision.
    """
    graph = module.graph
    for node in list(graph.nodes):
        name = str(getattr(node.target, "__name__", ""))
        if node.op != "call_function" or name not in (
            "wrap_with_autocast",
            "wrap_with_set_grad_enabled",
        ):
            continue
        position = next(
            index
            for index, argument in enumerate(node.args)
            if isinstance(argument, fx.Node) and argument.op == "get_attr"
        )
        body_node: Any = node.args[position]
        body = module.get_submodule(str(body_node.target))
        placeholders = [n for n in body.graph.nodes if n.op == "placeholder"]  # type: ignore[union-attr]
        values: dict[fx.Node, Any] = dict(zip(placeholders, node.args[position + 1 :], strict=True))
        with graph.inserting_before(node):
            result = graph.graph_copy(body.graph, values)  # type: ignore[arg-type]
        _replace_outputs(node, result)
        graph.erase_node(node)
        if not body_node.users:
            graph.erase_node(body_node)


def _replace_outputs(node: fx.Node, result: Any) -> None:
    if isinstance(result, fx.Node):
        node.replace_all_uses_with(result)
        return
    for user in list(node.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(result[user.args[1]])
            user.graph.erase_node(user)
