"""The table of operation rules, and the two rules that hold for any operation."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from compressc.channels.shapes import value_of
from compressc.errors import RuleError
from compressc.rules.site import Site, Value

Rule = Callable[[Site], Value]

RULES: dict[Any, Rule] = {}


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """Register a rule for one or more operations.

    Raises:
        RuleError: if an operation already has a rule.
    """

    def register(function: Rule) -> Rule:
        for target in targets:
            if target in RULES:
                raise RuleError(f"{target} has two rules")
            RULES[target] = function
        return function

    return register


@rule(operator.getitem)
def take(site: Site) -> Value:
    """``values[i]``: one output of a node with several."""
    source, index = site.node.args
    if not isinstance(source, fx.Node):
        raise RuleError(f"{site.name} indexes something that is no node")
    values = site.values.get(source.name)
    if isinstance(values, list) and isinstance(index, int):
        return values[index]
    return site.plain_output()


def unknown(site: Site) -> Value:
    """Pin everything an operation without a rule touches."""
    operation = getattr(site.node.target, "name", lambda: str(site.node.target))()
    return freeze_inputs(site, f"is an operation without a rule ({operation})")


def freeze_inputs(site: Site, reason: str) -> Value:
    """Pin every axis of every input; the outputs are plain."""
    for source in site.node.all_input_nodes:
        axes = site.values.get(source.name)
        values = axes if isinstance(axes, list) else [axes] if axes is not None else []
        for value_axes in values:
            site.freeze_all(value_axes, reason)
    return site.plain_output()


def is_computation(node: fx.Node) -> bool:
    """Return whether a node computes tensors (and not sizes)."""
    value = value_of(node)
    return isinstance(value, Tensor) or (
        isinstance(value, (tuple, list)) and any(isinstance(item, Tensor) for item in value)
    )
