"""Slicing parameters and buffers to the channels that stay."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from compressc.channels.kept import Kept
from compressc.coupling.graph import Coupling
from compressc.rules.records import GroupedWeight


def slice_tensors(module: nn.Module, coupling: Coupling, kept: Kept) -> None:
    """Replace every parameter and buffer that loses slices; tied tensors stay tied."""
    propagation = coupling.propagation
    grouped = {propagation.canonical[w.tensor]: w for w in propagation.records.grouped_weights}
    names: dict[str, list[str]] = {}
    for name, first in propagation.canonical.items():
        names.setdefault(first, []).append(name)
    current = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    for first, axes in propagation.parameters.items():
        tensor = current[first]
        sliced: Tensor = tensor.detach()
        if first in grouped:
            sliced = _slice_grouped(sliced, grouped[first], kept)
        for axis, channels in enumerate(axes):
            done = first in grouped and axis in (
                grouped[first].row_axis,
                grouped[first].column_axis,
            )
            if not done and not kept.whole(channels):
                index = torch.as_tensor(np.flatnonzero(kept.mask(channels)), device=tensor.device)
                sliced = sliced.index_select(axis, index)
        if sliced.shape != tensor.shape or first in grouped:
            _assign(module, names[first], tensor, sliced.contiguous())


def _assign(module: nn.Module, names: list[str], old: Tensor, new: Tensor) -> None:
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    for name in names:
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, new)


def _slice_grouped(weight: Tensor, grouped: GroupedWeight, kept: Kept) -> Tensor:
    """Slice each conv group's rows and its own columns.

    Shape: (out, in / conv_groups, kernel) to (kept out, kept in / conv_groups, kernel).
    """
    rows = kept.ids(grouped.rows).reshape(grouped.conv_groups, -1)
    columns = kept.ids(grouped.columns).reshape(grouped.conv_groups, -1)
    blocks = weight.chunk(grouped.conv_groups, dim=grouped.row_axis)
    parts: list[Tensor] = []
    for block, row, column in zip(blocks, rows, columns, strict=True):
        chosen = block.index_select(grouped.row_axis, torch.as_tensor(np.flatnonzero(row)))
        parts.append(
            chosen.index_select(grouped.column_axis, torch.as_tensor(np.flatnonzero(column)))
        )
    return torch.cat(parts, dim=grouped.row_axis)
