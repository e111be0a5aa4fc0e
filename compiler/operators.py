"""What the schema of an ATen operation says about a node of a captured graph."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx


def schema_of(node: fx.Node) -> torch.FunctionSchema | None:
    """Return the schema of the operation that a node calls; None where it calls no operation."""
    return getattr(node.target, "_schema", None)


def argument_place(node: fx.Node, name: str) -> int | None:
    """Return the position of an argument in the schema; None where there is no such argument."""
    schema = schema_of(node)
    names = [] if schema is None else [argument.name for argument in schema.arguments]
    return names.index(name) if name in names else None


def argument_of(node: fx.Node, name: str) -> Any:
    """Return what a node gives for an argument, by its schema name, or the argument's default.

    Returns:
        The value; None where the operation has no such argument.
    """
    schema, place = schema_of(node), argument_place(node, name)
    if schema is None or place is None:
        return None
    if place < len(node.args):
        return node.args[place]
    return node.kwargs.get(name, schema.arguments[place].default_value)


def is_view(node: fx.Node) -> bool:
    """Return whether a node shows its first input in another form, or picks a part of it."""
    schema = schema_of(node)
    if schema is None:
        return node.target is operator.getitem
    alias = schema.arguments[0].alias_info if schema.arguments else None
    return alias is not None and not alias.is_write


def is_mutating(node: fx.Node) -> bool:
    """Return whether a node changes one of its inputs in place."""
    schema = schema_of(node)
    return bool(schema is not None and schema.is_mutable)
