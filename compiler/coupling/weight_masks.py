"""Which weights a mask of zeros may touch, and which of them outlive a keep plan."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from compressc.array_types import BoolArray
from compressc.coupling.graph import Coupling
from compressc.plan import Plan


def contracted_weights(coupling: Coupling) -> tuple[str, ...]:
    """Return the parameters of two or more axes that a node sums over, in graph order."""
    propagation = coupling.propagation
    records = propagation.records
    read = {propagation.canonical[name] for name, _ in records.read_axes}
    read |= {propagation.canonical[weight.tensor] for weight in records.grouped_weights}
    return tuple(
        name
        for name in propagation.parameters
        if name in read and propagation.is_parameter(name) and propagation.tensors[name].dim() > 1
    )


def staying_weights(coupling: Coupling, plan: Plan, names: Iterable[str]) -> dict[str, BoolArray]:
    """Return which weights survive a keep plan, by name, in the tensor's shape."""
    propagation = coupling.propagation
    grouped = {
        propagation.canonical[weight.tensor]: weight
        for weight in propagation.records.grouped_weights
    }
    staying = {name: np.ones(propagation.tensors[name].shape, dtype=bool) for name in names}
    for group_name, mask in plan.keep.items():
        for member in coupling.group(group_name).members:
            if member.tensor not in staying:
                continue
            leaving = member.position[~mask[member.unit]]
            weight = grouped.get(member.tensor)
            if weight is None or member.axis != weight.column_axis:
                np.moveaxis(staying[member.tensor], member.axis, 0)[leaving] = False
                continue
            # The compact axis of a grouped weight has other channels in every conv group.
            view = np.moveaxis(
                staying[member.tensor], (weight.row_axis, weight.column_axis), (0, 1)
            )
            rows, columns = view.shape[0] // weight.conv_groups, view.shape[1]
            for channel in leaving:
                start = channel // columns * rows
                view[start : start + rows, channel % columns] = False
    return staying
