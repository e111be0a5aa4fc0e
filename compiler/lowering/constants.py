"""Constants that removed channels leave behind, folded into the biases of what reads them.

A channel whose batch norm has scale 0 still carries a value: its shift, after the activation. Taken
away, it changes what its readers sum up. Where that value reaches a reader unchanged, the reader's
bias can take it over, so that dead channels leave without a trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from compressc.axes import size_of, spread
from compressc.frontend.trainable import share_module
from compressc.lowering.constant_values import find_constants
from compressc.plan import Plan
from compressc.program import Program
from compressc.propagation import named_tensors
from compressc.rules.registry import where

aten = torch.ops.aten
BoolArray = NDArray[np.bool_]

_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)


@dataclass(frozen=True, eq=False)
class Absorbed:
    """Result of :func:`absorb_constants`.

    Attributes:
        program: the program with new biases and the same pending plan.
        folded: readers whose bias took over constants.
        refused: readers that could not, and why.
    """

    program: Program
    folded: tuple[str, ...]
    refused: tuple[str, ...]


def find_dead(program: Program) -> dict[str, BoolArray]:
    """Return, per group with any, which units carry the same value whatever the input is.

    A unit counts as dead where every place that reads it knows its value and can take it over.
    The result holds True for dead units, shape (units,) each.
    """
    coupling = program.coupling
    propagation = coupling.propagation
    values = find_constants(program)
    by_name = {node.name: node for node in program.graph_module.graph.nodes}
    statistics = frozenset(propagation.records.statistics)
    alive = np.zeros(len(coupling.solution.reason_of), dtype=bool)
    read = np.zeros_like(alive)
    for found in propagation.records.contractions:
        if by_name[found.operand].op == "get_attr":
            continue
        known = values.of(found.operand, found.axis)
        known = np.full(size_of(found.channels), np.nan) if known is None else known
        takes = found.node not in statistics and not _refusal(by_name[found.node], np.ones(1))
        # Zeros need no bias.
        constant = ~np.isnan(known) if takes else known == 0
        for index, factor in enumerate(found.channels):
            if factor.ids is not None:
                classes = coupling.solution.class_of[spread(found.channels, index)]
                read[classes] = True
                alive[classes[~constant]] = True
    for name in statistics:
        for source in (by_name[name], *by_name[name].all_input_nodes):
            axes = propagation.values.get(source.name)
            for axis in axes if isinstance(axes, tuple) else ():
                for factor in axis:
                    if factor.ids is not None:
                        alive[coupling.solution.class_of[factor.ids]] = True
    dead = read & ~alive
    return {
        group.name: dead[group.classes]
        for group in coupling.groups
        if group.pinned is None and dead[group.classes].any()
    }


def absorb_constants(program: Program) -> Absorbed:
    """Given a pending plan. Result: readers' biases hold what removed constant channels add.

    A convolution with padding is refused: at the border the constant is missing from its sum. So is
    a node that computes statistics over channels: it sees the kept ones only.
    """
    if not program.plan.keep:
        return Absorbed(program, (), ())
    coupling = program.coupling
    kept = coupling.view(program.plan)
    values = find_constants(program)
    module = share_module(program.graph_module)
    by_name = {node.name: node for node in module.graph.nodes}
    statistics = frozenset(coupling.propagation.records.statistics)
    folded: list[str] = []
    refused: list[str] = []
    for found in coupling.propagation.records.contractions:
        node = by_name[found.node]
        constants = values.of(found.operand, found.axis)
        if constants is None or kept.whole(found.channels) or found.node in statistics:
            continue
        left = np.where(kept.mask(found.channels) | np.isnan(constants), 0.0, constants)
        if not left.any() or node.args[0] is not by_name[found.operand]:
            continue
        reason = _refusal(node, left)
        if reason:
            refused.append(f"{where(node)}: {reason}")
            continue
        _add_to_bias(module, node, left)
        folded.append(where(node))
    if not folded:
        return Absorbed(program, (), tuple(refused))
    module.graph.lint()
    module.recompile()
    changed = replace(
        program, graph_module=fx.GraphModule(module, module.graph), plan=Plan(), _derived={}
    )
    return Absorbed(changed.with_plan(program.plan), tuple(folded), tuple(refused))


def _refusal(node: fx.Node, constants: NDArray[np.float64]) -> str:
    """Return why a reader's bias cannot take constants over, or ""."""
    if not constants.any():
        return ""
    if node.target not in (*_CONVOLUTIONS, aten.linear.default):
        return "has no bias to hold the constant of removed channels"
    weight = node.args[1]
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return "computes its weight"
    if node.target in _CONVOLUTIONS:
        padding: Any = node.args[4] if len(node.args) > 4 else node.kwargs.get("padding", 0)
        if any(side != 0 for side in np.atleast_1d(padding)):
            return "pads its input, so the constant of removed channels is missing at the border"
    return ""


def _add_to_bias(module: fx.GraphModule, node: fx.Node, constants: NDArray[np.float64]) -> None:
    tensors = named_tensors(module)
    source: fx.Node = node.args[1]  # type: ignore[assignment]
    weight = tensors[str(source.target)].detach().double()
    given = torch.as_tensor(constants, dtype=torch.float64, device=weight.device)
    if node.target is aten.linear.default:
        extra = weight @ given
    else:
        groups = node.args[6] if len(node.args) > 6 else node.kwargs.get("groups", 1)
        taps = weight.flatten(2).sum(2)
        blocks = taps.chunk(int(groups))  # type: ignore[arg-type]
        parts = given.chunk(int(groups))  # type: ignore[arg-type]
        extra = torch.cat([block @ part for block, part in zip(blocks, parts, strict=True)])
    old = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
    bias = extra if old is None else _value(old, tensors).double() + extra
    _set_bias(module, node, source, nn.Parameter(bias.to(tensors[str(source.target)].dtype)))


def _value(node: object, tensors: Mapping[str, Tensor]) -> Tensor:
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        raise TypeError("a bias that is computed cannot take constants over")
    return tensors[str(node.target)].detach()


def _set_bias(module: fx.GraphModule, node: fx.Node, weight: fx.Node, bias: nn.Parameter) -> None:
    """Give the node a bias of its own, under the layer's name where that is free."""
    layer = str(weight.target).rpartition(".")[0]
    owner = module.get_submodule(layer)
    old = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
    leaf = "bias"
    if isinstance(old, fx.Node) and len(old.users) == 1 and not _is_tied(module, str(old.target)):
        layer, _, leaf = str(old.target).rpartition(".")
        owner = module.get_submodule(layer)
    elif getattr(owner, "bias", None) is not None:
        leaf = f"bias_{node.name}"
    if leaf in owner.__dict__:
        delattr(owner, leaf)
    owner.register_parameter(leaf, bias)
    with module.graph.inserting_before(node):
        fresh = module.graph.get_attr(f"{layer}.{leaf}" if layer else leaf)
    fake: Tensor = weight.meta["val"]
    fresh.meta["val"] = fake.new_empty(bias.shape)
    if "bias" in node.kwargs:
        node.update_kwarg("bias", fresh)
    elif len(node.args) > 2:
        node.update_arg(2, fresh)
    else:
        node.args = (*node.args, fresh)
    if isinstance(old, fx.Node) and not old.users:
        module.graph.erase_node(old)


def _is_tied(module: nn.Module, name: str) -> bool:
    tensors = named_tensors(module)
    return sum(tensor is tensors[name] for tensor in tensors.values()) > 1
