"""Constants that removed channels leave behind, folded into the biases of what reads them.

A channel whose batch norm has scale 0 still carries a value: its shift, after the activation. Taken
away, it changes what its readers sum up. Where that value reaches a reader unchanged, the reader's
bias can take it over, so that dead channels leave without a trace.

What a bias took over is taken from the weight, so the whole network still computes the same, and
doing it twice is doing it once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressc.array_types import BoolArray, FloatArray
from compressc.channels.axes import size_of, spread
from compressc.coupling.graph import couple
from compressc.graphs.trainable import share_module
from compressc.lowering.constant_values import find_constants
from compressc.lowering.unread_inputs import find_unread
from compressc.plan import Plan
from compressc.program import Program
from compressc.rules.propagation import named_tensors
from compressc.rules.site import where

aten = torch.ops.aten
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
    """Return, per group with any, which units make no difference.

    A unit counts as dead where every place that reads it knows its value, the same whatever the
    input is, and can take it over, or has nothing but zeros to multiply it by.
    The result holds True for dead units, shape (units,) each.
    """
    coupling = couple(program)
    propagation = coupling.propagation
    values = find_constants(program)
    by_name = {node.name: node for node in program.graph_module.graph.nodes}
    statistics = frozenset(propagation.records.statistics)
    shared = _shared_tensors(program.graph_module)
    tensors = named_tensors(program.graph_module)
    alive = np.zeros(len(coupling.solution.reason_of), dtype=bool)
    read = np.zeros_like(alive)
    for contraction in propagation.records.contractions:
        if by_name[contraction.operand].op == "get_attr":
            continue
        known = values.of(contraction.operand, contraction.axis)
        known = np.full(size_of(contraction.channels), np.nan) if known is None else known
        takes = contraction.node not in statistics and not _refusal(
            by_name[contraction.node], shared
        )
        # Zeros need no bias.
        constant = ~np.isnan(known) if takes else known == 0
        unread = None
        if contraction.node not in statistics:
            operand = by_name[contraction.operand]
            unread = find_unread(by_name[contraction.node], operand, contraction.axis, tensors)
        if unread is not None:
            constant = constant | unread
        for index, factor in enumerate(contraction.channels):
            if factor.ids is not None:
                classes = coupling.solution.class_of[spread(contraction.channels, index)]
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


def absorb_constants(program: Program, settled: Plan | None = None) -> Absorbed:
    """Given a pending plan. Result: readers' biases hold what removed constant channels add.

    A convolution with padding is refused: at the border the constant is missing from its sum. So is
    a node that computes statistics over channels: it sees the kept ones only.

    Args:
        program: with the plan.
        settled: an earlier plan of the same program; what it removed is left alone.
    """
    if not program.plan.keep:
        return Absorbed(program, (), ())
    coupling = couple(program)
    kept = coupling.view(program.plan)
    kept_before = coupling.view(settled or Plan())
    values = find_constants(program)
    module = share_module(program.graph_module)
    by_name = {node.name: node for node in module.graph.nodes}
    statistics = frozenset(coupling.propagation.records.statistics)
    shared = _shared_tensors(module)
    folded: list[str] = []
    refused: list[str] = []
    for contraction in coupling.propagation.records.contractions:
        node = by_name[contraction.node]
        constants = values.of(contraction.operand, contraction.axis)
        if constants is None or kept.whole(contraction.channels) or contraction.node in statistics:
            continue
        leaving = kept_before.mask(contraction.channels) & ~kept.mask(contraction.channels)
        left = np.where(leaving & ~np.isnan(constants), constants, 0.0)
        if not left.any() or node.args[0] is not by_name[contraction.operand]:
            continue
        reason = _refusal(node, shared)
        if reason:
            refused.append(f"{where(node)}: {reason}")
        elif _move_to_bias(module, node, left):
            folded.append(where(node))
    if not folded:
        return Absorbed(program, (), tuple(refused))
    module.graph.lint()
    module.recompile()
    changed = replace(
        program, graph_module=fx.GraphModule(module, module.graph), plan=Plan(), _derived={}
    )
    return Absorbed(changed.with_plan(program.plan), tuple(folded), tuple(refused))


def _refusal(node: fx.Node, shared: frozenset[str]) -> str:
    """Return why a reader's bias cannot take constants over, or ""."""
    if node.target not in (*_CONVOLUTIONS, aten.linear.default):
        return "has no bias to hold the constant of removed channels"
    weight = node.args[1]
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return "computes its weight"
    if str(weight.target) in shared:
        return "shares its weight with another place"
    bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
    if isinstance(bias, fx.Node) and bias.op != "get_attr":
        return "computes its bias"
    if node.target in _CONVOLUTIONS:
        padding: Any = node.args[4] if len(node.args) > 4 else node.kwargs.get("padding", 0)
        if any(side != 0 for side in np.atleast_1d(padding)):
            return "pads its input, so the constant of removed channels is missing at the border"
    return ""


def _shared_tensors(module: fx.GraphModule) -> frozenset[str]:
    """Return the names of tensors that more than one place reads."""
    tensors = named_tensors(module)
    readers: Counter[int] = Counter()
    for node in module.graph.nodes:
        if node.op == "get_attr" and str(node.target) in tensors:
            readers[id(tensors[str(node.target)])] += len(node.users)
    return frozenset(name for name, tensor in tensors.items() if readers[id(tensor)] > 1)


def _move_to_bias(module: fx.GraphModule, node: fx.Node, constants: FloatArray) -> bool:
    """Move what constant inputs add from the weight to the bias; say whether that is anything."""
    tensors = named_tensors(module)
    source: fx.Node = node.args[1]  # type: ignore[assignment]
    weight = tensors[str(source.target)].detach()
    given = torch.as_tensor(constants, dtype=torch.float64, device=weight.device)
    groups = 1
    if node.target is not aten.linear.default:
        groups = int(node.args[6] if len(node.args) > 6 else node.kwargs.get("groups", 1))  # type: ignore[arg-type]
    rest = weight.clone()
    extras = []
    for rows, part in zip(rest.chunk(groups), given.chunk(groups), strict=True):
        taps = rows.double().reshape(*rows.shape[:2], -1).sum(2)
        extras.append(taps @ part)
        rows[:, part != 0] = 0
    extra = torch.cat(extras)
    if not bool(extra.any()) and torch.equal(rest, weight):
        return False
    old = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
    bias = extra
    if isinstance(old, fx.Node):
        bias = bias + tensors[str(old.target)].detach().double()
    _replace(module, str(source.target), rest)
    _set_bias(module, node, source, nn.Parameter(bias.to(weight.dtype)))
    return True


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    """Give a tensor of the module another value; other modules may share the old one."""
    layer, _, leaf = name.rpartition(".")
    owner = module.get_submodule(layer)
    old = getattr(owner, leaf)
    is_parameter = isinstance(old, nn.Parameter)
    setattr(owner, leaf, nn.Parameter(value, old.requires_grad) if is_parameter else value)


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
