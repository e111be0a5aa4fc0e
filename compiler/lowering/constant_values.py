"""Which channels carry the same value whatever the input is, and what value.

One forward pass over the graph. It begins at batch norms with scale 0 and at filters of zeros, and
goes on through operations that act on every element alike. Anything else makes a channel unknown,
which is always safe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from compressc.array_types import FloatArray
from compressc.coupling.graph import couple
from compressc.operators import is_mutating
from compressc.program import Program
from compressc.rules.elementwise import elementwise
from compressc.rules.pooling import over_space
from compressc.rules.propagation import named_tensors
from compressc.rules.registry import RULES

aten = torch.ops.aten

_CONVOLUTIONS = {
    aten.conv1d.default: 1,
    aten.conv2d.default: 2,
    aten.conv3d.default: 3,
}
# These see zeros of padding beside the channel's value.
_PADDED_POOLS = (aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default)
_OUTSIDE = ("grid_sampler", "max_unpool", "fractional", "lp_pool")


@dataclass(frozen=True, eq=False)
class ConstantValues:
    """Per node the axis that holds channels and the value of each, NaN where it varies."""

    known: Mapping[str, tuple[int, FloatArray]]

    def of(self, node: str, axis: int) -> FloatArray | None:
        """Return the values along one axis of a node, or None where nothing is known."""
        known = self.known.get(node)
        return known[1] if known is not None and known[0] == axis else None


@dataclass
class _Walk:
    tensors: Mapping[str, Tensor]
    known: dict[fx.Node, tuple[int, FloatArray]]

    def of(self, node: object) -> tuple[int, FloatArray] | None:
        return self.known.get(node) if isinstance(node, fx.Node) else None

    def parameter(self, node: object) -> Tensor | None:
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return None
        tensor = self.tensors.get(str(node.target))
        return None if tensor is None else tensor.detach().double().cpu()


def find_constants(program: Program) -> ConstantValues:
    """Return the constant channels of every value of a program.

    Behind a block that the pending plan leaves out they are those of the value beside it.
    """
    walk = _Walk(named_tensors(program.graph_module), {})
    dropped = couple(program).branches.dropped(program.plan.choice)
    skip_of = {block.sum: block.skip for block in dropped}
    by_name = {node.name: node for node in program.graph_module.graph.nodes}
    for node in program.graph_module.graph.nodes:
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, Tensor):
            continue
        skip = skip_of.get(node.name)
        constants = _find(walk, node) if skip is None else walk.of(by_name[skip])
        if constants is not None and not np.isnan(constants[1]).all():
            walk.known[node] = constants
    # A value that is written to in place later says nothing.
    written = {
        source
        for node in program.graph_module.graph.nodes
        if is_mutating(node)
        for source in node.all_input_nodes[:1]
        if len(source.users) > 1
    }
    return ConstantValues(
        {node.name: constants for node, constants in walk.known.items() if node not in written}
    )


def _find(walk: _Walk, node: fx.Node) -> tuple[int, FloatArray] | None:
    target: Any = node.target
    if target is aten.batch_norm.default:
        return _batch_norm(walk, node)
    if target in _CONVOLUTIONS:
        return _convolution(walk, node)
    if target is aten.linear.default:
        return _linear(walk, node)
    rule = RULES.get(target)
    if rule is over_space:
        return _pool(walk, node)
    if rule is elementwise:
        return _elementwise(walk, node)
    special = _SPECIAL.get(target)
    return special(walk, node) if special is not None else None


def _batch_norm(walk: _Walk, node: fx.Node) -> tuple[int, FloatArray] | None:
    """Scale 0 leaves the shift; a constant input is normalised like any other."""
    scale, shift, mean, variance = (walk.parameter(node.args[index]) for index in (1, 2, 3, 4))
    if mean is None or variance is None or node.args[5] is not False:
        return None
    scale = torch.ones_like(mean) if scale is None else scale
    shift = torch.zeros_like(mean) if shift is None else shift
    before = walk.of(node.args[0])
    given = torch.full_like(mean, float("nan"))
    if before is not None and before[0] == 1:
        given = torch.as_tensor(before[1])
    eps = float(node.args[7])  # type: ignore[arg-type]
    result = (given - mean) / torch.sqrt(variance + eps) * scale + shift
    return 1, torch.where(scale == 0, shift, result).numpy()


def _bias(walk: _Walk, node: fx.Node, size: int) -> Tensor | None:
    bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
    return torch.zeros(size, dtype=torch.float64) if bias is None else walk.parameter(bias)


def _convolution(walk: _Walk, node: fx.Node) -> tuple[int, FloatArray] | None:
    """Filters of zeros leave the bias; so do filters that meet nothing but zeros."""
    weight = walk.parameter(node.args[1])
    if weight is None or len(node.meta["val"].shape) != weight.dim():
        return None
    bias = _bias(walk, node, len(weight))
    if bias is None:
        return None
    before = walk.of(node.args[0])
    inputs = np.full(node.args[0].meta["val"].shape[1], np.nan)  # type: ignore[union-attr]
    if before is not None and before[0] == 1:
        inputs = before[1]
    blocks = len(inputs) // weight.shape[1]
    silent = torch.as_tensor(inputs == 0).reshape(blocks, 1, -1)
    rows = weight.flatten(2).abs().sum(2).reshape(blocks, -1, weight.shape[1])
    nothing = ((rows == 0) | silent).all(dim=2).reshape(-1)
    return 1, torch.where(nothing, bias, torch.nan).numpy()


def _linear(walk: _Walk, node: fx.Node) -> tuple[int, FloatArray] | None:
    weight = walk.parameter(node.args[1])
    if weight is None or weight.dim() != 2:
        return None
    bias = _bias(walk, node, len(weight))
    if bias is None:
        return None
    axis = node.meta["val"].dim() - 1
    return axis, torch.where((weight == 0).all(dim=1), bias, torch.nan).numpy()


def _pool(walk: _Walk, node: fx.Node) -> tuple[int, FloatArray] | None:
    before = walk.of(node.args[0])
    rank = len(node.meta["val"].shape)
    if before is None or before[0] != 1 or rank < 3:
        return None
    if any(name in str(node.target) for name in _OUTSIDE):
        return None
    if node.target in _PADDED_POOLS:
        padding: Any = node.args[3] if len(node.args) > 3 else node.kwargs.get("padding", 0)
        if np.any(np.asarray(padding) != 0):
            return 1, np.where(before[1] == 0, 0.0, np.nan)
    return before


def _elementwise(walk: _Walk, node: fx.Node) -> tuple[int, FloatArray] | None:
    """One varying operand: run the operation on the values. Two: both must be constant."""
    operands = [source for source in node.all_input_nodes if isinstance(_fake(source), Tensor)]
    if len(operands) == 1 and len(node.all_input_nodes) == 1:
        before = walk.of(operands[0])
        if before is None or _operand_count(node) != 1:
            return None
        return before[0], _run(node, {operands[0]: torch.as_tensor(before[1])})
    if len(operands) != 2 or len(node.all_input_nodes) != 2:
        return None
    shapes = [_fake(source).shape for source in operands]
    constants = [walk.of(source) for source in operands]
    if constants[0] is None or constants[1] is None or len(shapes[0]) != len(shapes[1]):
        return None
    if constants[0][0] != constants[1][0] or len(constants[0][1]) != len(constants[1][1]):
        return None
    values = {s: torch.as_tensor(f[1]) for s, f in zip(operands, constants, strict=True) if f}
    return constants[0][0], _run(node, values)


def _fake(node: fx.Node) -> Any:
    return node.meta.get("val")


def _operand_count(node: fx.Node) -> int:
    return sum(isinstance(argument, fx.Node) for argument in node.args)


def _run(node: fx.Node, values: Mapping[fx.Node, Tensor]) -> FloatArray:
    """Evaluate an operation on one value per channel; NaN in gives NaN out."""
    copies = {source: value.clone() for source, value in values.items()}
    args, kwargs = fx.map_arg((node.args, node.kwargs), copies.__getitem__)
    unknown = torch.stack([torch.isnan(value) for value in values.values()]).any(dim=0)
    try:
        with torch.no_grad():
            result = node.target(*args, **kwargs).double()  # type: ignore[operator]
    except (RuntimeError, TypeError):
        return np.full(len(unknown), np.nan)
    if result.shape != unknown.shape:
        return np.full(len(unknown), np.nan)
    return np.asarray(result.masked_fill(unknown, float("nan")).numpy())


def _mean(walk: _Walk, node: fx.Node) -> tuple[int, FloatArray] | None:
    """The mean of a constant over other axes is that constant."""
    before = walk.of(node.args[0])
    if before is None:
        return None
    rank = len(_fake(node.args[0]).shape)  # type: ignore[arg-type]
    listed: Any = node.args[1] if len(node.args) > 1 else None
    if listed is None:
        return None
    dims = {int(dim) % rank for dim in ([listed] if isinstance(listed, int) else listed)}
    if before[0] in dims:
        return None
    keepdim = bool(node.args[2]) if len(node.args) > 2 else bool(node.kwargs.get("keepdim"))
    lower = 0 if keepdim else sum(dim < before[0] for dim in dims)
    return before[0] - lower, before[1]


def _flatten(walk: _Walk, node: fx.Node) -> tuple[int, FloatArray] | None:
    """Channels followed by space become one axis, each value repeated over its space."""
    before = walk.of(node.args[0])
    old, new = list(_fake(node.args[0]).shape), list(_fake(node).shape)  # type: ignore[arg-type]
    if before is None or before[0] != 1:
        return None
    if len(new) == 2 and all(isinstance(size, int) for size in old[1:]):
        inner = int(np.prod(old[2:], dtype=np.int64))
        if new[1] == old[1] * inner:
            return 1, np.repeat(before[1], inner)
    same = len(new) > 1 and str(new[1]) == str(old[1]) and str(new[0]) == str(old[0])
    return (1, before[1]) if same else None


def _concatenate(walk: _Walk, node: fx.Node) -> tuple[int, FloatArray] | None:
    parts: Any = node.args[0]
    rank = len(_fake(node).shape)
    dim = int(node.args[1] if len(node.args) > 1 else 0) % rank  # type: ignore[arg-type]
    pieces: list[FloatArray] = []
    for part in parts:
        constants = walk.of(part)
        size = _fake(part).shape[dim]
        if not isinstance(size, int):
            return None
        known = constants is not None and constants[0] == dim
        pieces.append(constants[1] if known and constants else np.full(size, np.nan))
    return dim, np.concatenate(pieces)


_SPECIAL: Mapping[Any, Callable[[_Walk, fx.Node], tuple[int, FloatArray] | None]] = {
    aten.mean.dim: _mean,
    aten.flatten.using_ints: _flatten,
    aten.view.default: _flatten,
    aten.reshape.default: _flatten,
    aten.cat.default: _concatenate,
}
