"""Norms of weight slices: what each position on a prunable axis of a weight amounts to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import fx

from compressc.array_types import FloatArray
from compressc.coupling.graph import couple
from compressc.coupling.groups import ChannelGroup, Member
from compressc.operators import argument_of
from compressc.program import Program
from compressc.rules.records import GroupedWeight

VectorNorm = Literal["l1", "l2"]


@dataclass(frozen=True, eq=False)
class SliceNorms:
    """The norm of every slice of the weights that count.

    Biases and running statistics do not count; the scale of a batch norm does.

    Attributes:
        norm: which.
        by_axis: norms by tensor and axis, shape (positions,) each.
        sizes: weights in one slice, by tensor and axis.
    """

    norm: VectorNorm
    by_axis: dict[tuple[str, int], FloatArray]
    sizes: dict[tuple[str, int], float]

    def counts(self, member: Member) -> bool:
        """Return whether the weights of a member count."""
        return (member.tensor, member.axis) in self.by_axis

    def of_units(self, member: Member, units: int) -> FloatArray:
        """Return the norm of each unit's slices of a member, shape (units,)."""
        power = power_of(self.norm)
        norms = self.by_axis[member.tensor, member.axis][member.position]
        sums = np.bincount(member.unit, weights=norms**power, minlength=units)
        return sums.astype(np.float64) ** (1 / power)

    def weights_of_units(self, member: Member, units: int) -> FloatArray:
        """Return how many weights the slices of each unit have, shape (units,)."""
        slices = np.bincount(member.unit, minlength=units).astype(np.float64)
        return slices * self.sizes[member.tensor, member.axis]


def power_of(norm: VectorNorm) -> int:
    """Return the power that a norm sums up."""
    return 1 if norm == "l1" else 2


def measure_slices(program: Program, groups: list[ChannelGroup], norm: VectorNorm) -> SliceNorms:
    """Return the norms of all slices of some groups; each tensor is read once."""
    weights = _read_weights(program)
    axes: dict[str, set[int]] = defaultdict(set)
    for group in groups:
        for member in group.members:
            if member.tensor in weights.counted:
                axes[member.tensor].add(member.axis)
    power = power_of(norm)
    norms: dict[tuple[str, int], FloatArray] = {}
    sizes: dict[tuple[str, int], float] = {}
    for name, prunable in axes.items():
        tensor = couple(program).propagation.tensors[name].detach()
        # Sums over the axes that nobody prunes come first: what is left is small.
        inner = [axis for axis in range(2, tensor.dim()) if axis not in prunable]
        sums = (
            torch.linalg.vector_norm(tensor, power, inner, keepdim=True, dtype=torch.double)
            if inner
            else tensor.double().abs()
        ) ** power
        for axis in sorted(prunable):
            slices = _slices(sums.numpy(), axis, weights.grouped.get(name))
            norms[name, axis] = slices ** (1 / power)
            sizes[name, axis] = tensor.numel() / len(slices)
    return SliceNorms(norm, norms, sizes)


@dataclass(frozen=True, eq=False)
class _Weights:
    """Which tensors count, and how grouped ones are laid out."""

    counted: frozenset[str]
    grouped: dict[str, GroupedWeight]


def _read_weights(program: Program) -> _Weights:
    propagation = couple(program).propagation
    uncounted: set[str] = set()
    for node in program.graph_module.graph.nodes:
        if node.op != "call_function":
            continue
        bias = _parameter(program, node, "bias")
        if bias is not None:
            uncounted.add(bias)
    names = {name for name in propagation.tensors if propagation.is_parameter(name)}
    grouped = {
        propagation.canonical[weight.tensor]: weight
        for weight in propagation.records.grouped_weights
    }
    return _Weights(frozenset(names - uncounted), grouped)


def _parameter(program: Program, node: fx.Node, argument: str) -> str | None:
    """Return the first name of the tensor given for an argument, if it is one of the model's."""
    source = argument_of(node, argument)
    if not isinstance(source, fx.Node) or source.op != "get_attr":
        return None
    return couple(program).propagation.canonical.get(str(source.target))


def _slices(sums: FloatArray, axis: int, grouped: GroupedWeight | None) -> FloatArray:
    """Return the sum at each position of a member, shape (positions,).

    The compact axis of a grouped weight stands for other channels in each conv group, so it has a
    position for every (conv group, place).
    """
    if grouped is None or axis != grouped.column_axis:
        rows = np.moveaxis(sums, axis, 0).reshape(sums.shape[axis], -1)
        return np.asarray(rows.sum(axis=1))
    view = np.moveaxis(sums, (grouped.row_axis, grouped.column_axis), (0, 1))
    blocks = view.reshape(grouped.conv_groups, -1, *view.shape[1:])
    rows = np.moveaxis(blocks, 2, 1).reshape(len(blocks) * view.shape[1], -1)
    return np.asarray(rows.sum(axis=1))
