"""Lowering: a Program with a pending plan becomes a smaller Program with none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from compressc.coupling.axes import Axis
from compressc.coupling.graph import Coupling
from compressc.coupling.kept import Kept
from compressc.coupling.propagation import named_tensors
from compressc.frontend.trainable import share_module
from compressc.lowering.factorization import factorize_layers
from compressc.lowering.slicing import slice_tensors
from compressc.masking import apply_zero_masks
from compressc.plan import Plan
from compressc.program import Program
from compressc.rules.site import Value


def lower(program: Program) -> Program:
    """Physically remove what the plan drops.

    Parameters and buffers are sliced, baked sizes rewritten, masked weights set to zero; then the
    sliced layers that have ranks are factorised. The result computes what ``masked(program)``
    computes.

    Raises:
        PlanError: if the plan does not fit.
    """
    plan = program.plan
    coupling = program.coupling
    coupling.check(plan)
    kept = coupling.view(plan)
    module = share_module(program.graph_module)
    apply_zero_masks(module, plan.zero)
    slice_tensors(module, coupling, kept)
    by_name = {node.name: node for node in module.graph.nodes}
    for edit in coupling.propagation.records.edits:
        edit.apply(by_name[edit.node], kept, module)
    _shrink_values(module, coupling, kept)
    factorize_layers(module, coupling, plan.rank)
    module.graph.eliminate_dead_code(is_impure_node=_keep_node)
    module.graph.lint()
    return replace(
        program,
        graph_module=fx.GraphModule(module, module.graph),
        plan=Plan(),
        sparse_weights=_sparse_weights(program, module),
        _derived={},
    )


def _sparse_weights(program: Program, module: fx.GraphModule) -> tuple[str, ...]:
    """Return the weights that carry zeros on purpose, from this plan and from earlier ones."""
    masked = [name for name, mask in program.plan.zero.items() if not mask.all()]
    left = dict(module.named_parameters(remove_duplicate=False))
    names = dict.fromkeys((*program.sparse_weights, *masked))
    return tuple(name for name in names if name in left)


def _keep_node(node: fx.Node) -> bool:
    """Lowering drops only constants whose last reader is gone."""
    return node.op != "get_attr"


def _shrink_values(module: fx.GraphModule, coupling: Coupling, kept: Kept) -> None:
    """Give every node the fake value of its new size, so the result can be coupled again."""
    tensors = named_tensors(module)
    for node in module.graph.nodes:
        value = coupling.propagation.values.get(node.name)
        if value is None:
            continue
        fake = node.meta.get("val")
        if node.op == "get_attr" and isinstance(fake, Tensor):
            # The weight of a grouped convolution has lost more than its axes say.
            shape = tensors[str(node.target)].shape
            node.meta["val"] = fake if fake.shape == shape else fake.new_empty(shape)
        else:
            node.meta["val"] = _shrunk(fake, value, kept)
        node.meta.pop("tensor_meta", None)


def _shrunk(fake: Any, value: Value, kept: Kept) -> Any:
    if isinstance(fake, Tensor) and isinstance(value, tuple):
        if all(kept.whole(axis) for axis in value):
            return fake
        shape = [_size(fake, i, axis, kept) for i, axis in enumerate(value)]
        return fake.new_empty(shape)
    if isinstance(fake, (tuple, list)) and isinstance(value, list):
        return tuple(_shrunk(f, v, kept) for f, v in zip(fake, value, strict=True))
    return fake


def _size(fake: Tensor, index: int, axis: Axis, kept: Kept) -> int | torch.SymInt:
    """Return the new size; an axis may be the batch times channels."""
    size: int | torch.SymInt = fake.shape[index]
    for factor in axis:
        if factor.ids is not None:
            size = size // factor.size * int(kept.ids(factor.ids).sum())
    return size
