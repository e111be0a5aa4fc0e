"""Canonical forms: rewrites that make a captured graph easier to couple.

Each rewrite keeps the function that the graph computes, in eval and in train mode.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from compressc.edits import attach_index

aten = torch.ops.aten

_ASSERTIONS = ("_assert", "sym_constrain_range", "_guards_fn")
_VIEWS = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)


def canonicalize(module: fx.GraphModule) -> None:
    """Apply every rewrite in place to a freshly captured module."""
    _inline_contexts(module)
    _drop_assertions(module.graph)
    _rewrite_shuffles(module)
    module.graph.eliminate_dead_code(is_impure_node=_is_impure)
    module.graph.lint()
    module.recompile()


def _is_impure(node: fx.Node) -> bool:
    if node.op in ("placeholder", "output"):
        return True
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)


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


def _rewrite_shuffles(module: fx.GraphModule) -> None:
    """Given view(b, g, c/g, …), transpose(1, 2), view(b, c, …). Result: index_select.

    The permutation of a channel shuffle becomes a constant index on the channel axis, so that
    channels stay free to leave one by one.
    """
    graph = module.graph
    for last in list(graph.nodes):
        if last.target not in (*_VIEWS, aten.flatten.using_ints):
            continue
        middle = last.args[0]
        if not isinstance(middle, fx.Node):
            continue
        if middle.target in (aten.contiguous.default, aten.clone.default):
            middle = middle.args[0]
        if not isinstance(middle, fx.Node) or len(middle.users) != 1:
            continue
        first = middle.args[0] if middle.args else None
        if not isinstance(first, fx.Node) or first.target not in _VIEWS or len(first.users) != 1:
            continue
        source = first.args[0]
        if not isinstance(source, fx.Node):
            continue
        before, inner, after = (n.meta["val"].shape for n in (source, first, last))
        axis = _shuffled_axis(middle, before, inner, after)
        if axis is None:
            continue
        conv_groups, width = int(inner[axis]), int(inner[axis + 1])
        index = torch.arange(conv_groups * width).view(conv_groups, width).t().reshape(-1)
        with graph.inserting_before(last):
            node = graph.call_function(aten.index_select.default, (source, axis, None))
        node.meta = {**last.meta}
        attach_index(module, node, 2, index.tolist())
        last.replace_all_uses_with(node)
        graph.erase_node(last)


def _shuffled_axis(middle: fx.Node, before: Any, inner: Any, after: Any) -> int | None:
    """Return the axis whose channels are shuffled, or None if this is no shuffle."""
    if len(inner) != len(before) + 1 or len(before) != len(after):
        return None
    if middle.target is aten.transpose.int:
        dims = sorted(int(d) % len(inner) for d in middle.args[1:3])  # type: ignore[arg-type]
    elif middle.target is aten.permute.default:
        order = [int(d) % len(inner) for d in middle.args[1]]  # type: ignore[union-attr,arg-type]
        dims = [i for i, d in enumerate(order) if i != d]
        if len(dims) != 2:
            return None
    else:
        return None
    axis = dims[0]
    if dims[1] != axis + 1:
        return None
    sizes = (inner[axis], inner[axis + 1], before[axis], after[axis])
    if not all(isinstance(size, int) for size in sizes):
        return None
    same = all(
        str(before[i]) == str(after[i]) and str(before[i]) == str(inner[i if i < axis else i + 1])
        for i in range(len(before))
        if i != axis
    )
    whole = before[axis] == after[axis] == inner[axis] * inner[axis + 1]
    return axis if same and whole else None
