"""Forming ChannelGroups: classes with the same slices in the same places are interchangeable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import gcd, lcm

import numpy as np

from compressc.array_types import IntArray
from compressc.channels.axes import Axes, Solution
from compressc.coupling.groups import ChannelGroup, Member, Role
from compressc.coupling.partitions import Partition
from compressc.layer_names import owner_of
from compressc.program import Constraints
from compressc.rules.propagation import Propagation
from compressc.rules.site import STRUCTURAL


@dataclass(frozen=True, eq=False)
class _Place:
    """One labelled axis of one parameter, in classes."""

    tensor: str
    axis: int
    role: Role
    classes: IntArray


def form_groups(
    propagation: Propagation,
    solution: Solution,
    partitions: Sequence[Partition],
    constraints: Constraints,
) -> tuple[ChannelGroup, ...]:
    """Return the groups in graph order; classes without any parameter form none."""
    places = _places(propagation, solution)
    if not places:
        return ()
    classes = len(solution.reason_of)
    signature = _signatures(places, partitions, solution, classes)
    # Classes in the order in which the graph meets them.
    met, first = np.unique(np.concatenate([p.classes for p in places]), return_index=True)
    met = met[np.argsort(first)]
    keys, group_of = np.unique(signature[met], axis=0, return_inverse=True)
    group_of = group_of.reshape(-1)
    order = np.argsort([int(np.argmax(group_of == key)) for key in range(len(keys))])
    buckets = [met[group_of == key] for key in order]
    buckets = [b for b in buckets if not _structural(b, solution)]
    slices = _slices(places, buckets, classes)
    minimums = _minimums(propagation, solution, buckets, classes)
    names: dict[str, int] = {}
    groups: list[ChannelGroup] = []
    for bucket, members, minimum in zip(buckets, slices, minimums, strict=True):
        name = _name(members, names)
        labels = _labels(partitions, bucket)
        groups.append(
            ChannelGroup(
                name=name,
                size=len(bucket),
                members=members,
                multiple_of=_multiple(members, len(bucket), labels, constraints.multiple_of),
                minimum=minimum,
                partitions=labels,
                classes=bucket,
                pinned=_pinned(bucket, members, solution, constraints),
            )
        )
    return tuple(groups)


def _places(propagation: Propagation, solution: Solution) -> list[_Place]:
    places: list[_Place] = []
    read = {(propagation.canonical[name], axis) for name, axis in propagation.records.read_axes}
    for name, axes in propagation.parameters.items():
        for axis, factors in enumerate(axes):
            ids = factors[0].ids
            if ids is not None:
                role: Role = "in" if (name, axis) in read else "out"
                places.append(_Place(name, axis, role, solution.class_of[ids]))
    for weight in propagation.records.grouped_weights:
        name = propagation.canonical[weight.tensor]
        classes = solution.class_of[weight.columns]
        places.append(_Place(name, weight.column_axis, weight.column_role, classes))
    return places


def _signatures(
    places: Sequence[_Place], partitions: Sequence[Partition], solution: Solution, classes: int
) -> np.ndarray:
    """Return 128 bits per class that say on which axes it has how many slices, and its reason."""
    generator = np.random.default_rng(0)
    signature = np.zeros((classes, 2), dtype=np.uint64)
    everything = [p.classes for p in places] + [partition.classes for partition in partitions]
    for members in everything:
        salt = generator.integers(1, 2**63, size=2, dtype=np.uint64)
        np.add.at(signature, members, salt)
    salts = generator.integers(1, 2**63, size=(len(solution.reasons) + 1, 2), dtype=np.uint64)
    signature += salts[solution.reason_of]
    return signature


def _structural(bucket: IntArray, solution: Solution) -> bool:
    reason = solution.reason_of[bucket[0]]
    return bool(reason >= 0) and solution.reasons[reason] == STRUCTURAL


def _slices(
    places: Sequence[_Place], buckets: Sequence[IntArray], classes: int
) -> list[tuple[Member, ...]]:
    owner = np.full(classes, -1, dtype=np.int64)
    unit = np.zeros(classes, dtype=np.int64)
    for index, bucket in enumerate(buckets):
        owner[bucket] = index
        unit[bucket] = np.arange(len(bucket))
    members: list[list[Member]] = [[] for _ in buckets]
    for place in places:
        owners = owner[place.classes]
        for index in np.unique(owners[owners >= 0]):
            position = np.flatnonzero(owners == index)
            members[index].append(
                Member(
                    place.tensor, place.axis, place.role, unit[place.classes[position]], position
                )
            )
    return [tuple(slices) for slices in members]


def _minimums(
    propagation: Propagation, solution: Solution, buckets: Sequence[IntArray], classes: int
) -> list[int]:
    """Return 0 for groups that may vanish because every axis they are on keeps others."""
    owner = np.full(classes, -1, dtype=np.int64)
    for index, bucket in enumerate(buckets):
        owner[bucket] = index
    # Classes that always stay (pinned, or without parameters) keep an axis alive: owner -1.
    owner[solution.reason_of >= 0] = -1
    owners_of_axis: dict[frozenset[int], None] = {}
    for ids in _labelled_ids(propagation):
        axis_owners = frozenset(int(i) for i in np.unique(owner[solution.class_of[ids]]))
        if -1 not in axis_owners:
            owners_of_axis[axis_owners] = None
    minimums = [0] * len(buckets)
    # An axis made of one group alone needs that group; then the rest, first come first.
    for axis_owners in sorted(owners_of_axis, key=lambda owners: (len(owners), min(owners))):
        if not any(minimums[index] for index in axis_owners):
            minimums[min(axis_owners)] = 1
    return minimums


def _labelled_ids(propagation: Propagation) -> list[IntArray]:
    axes: list[Axes] = list(propagation.parameters.values())
    for value in propagation.values.values():
        axes.extend(value if isinstance(value, list) else [value] if value else [])
    seen: dict[int, IntArray] = {}
    for value in axes:
        for axis in value:
            for factor in axis:
                if factor.ids is not None and len(factor.ids):
                    seen[id(factor.ids)] = factor.ids
    return list(seen.values())


def _labels(partitions: Sequence[Partition], bucket: IntArray) -> tuple[IntArray, ...]:
    """Return the distinct partitions of a bucket, one label per unit each."""
    distinct: dict[bytes, IntArray] = {}
    for partition in partitions:
        if np.isin(bucket[0], partition.classes):
            labels = partition.labels[np.searchsorted(partition.classes, bucket)]
            distinct[labels.tobytes()] = labels
    return tuple(distinct.values())


def unbalanced(groups: Sequence[ChannelGroup], partitions: Sequence[Partition]) -> list[Partition]:
    """Return partitions that groups cannot honour one by one: unequal shares, or a third one."""
    conflicts: list[Partition] = []
    for group in groups:
        met = 0
        for partition in partitions:
            if not np.isin(group.classes[0], partition.classes):
                continue
            labels = partition.labels[np.searchsorted(partition.classes, group.classes)]
            shares = np.bincount(labels, minlength=int(partition.labels.max()) + 1)
            met += 1
            if shares.min() != shares.max() or (met > 2 and len(group.partitions) > 2):
                conflicts.append(partition)
    return conflicts


def _multiple(
    members: Sequence[Member], size: int, partitions: Sequence[IntArray], multiple_of: int
) -> int:
    """Return the step in units that keeps every producing axis at a multiple."""
    width = next((len(m.unit) // size for m in members if m.role == "out"), 1) or 1
    step = multiple_of // gcd(multiple_of, width)
    for labels in partitions:
        step = lcm(step, int(labels.max()) + 1)
    return step


def _name(members: Sequence[Member], names: dict[str, int]) -> str:
    ordered = sorted(members, key=lambda m: m.role != "out")
    producer = next((m for m in ordered if m.role == "out" and m.tensor.endswith("weight")), None)
    tensor = (producer or ordered[0]).tensor
    name = owner_of(tensor)
    if (producer or ordered[0]).role == "in":
        name = f"{name}:in"
    names[name] = names.get(name, 0) + 1
    return name if names[name] == 1 else f"{name}#{names[name]}"


def _pinned(
    bucket: IntArray, members: Sequence[Member], solution: Solution, constraints: Constraints
) -> str | None:
    reason = int(solution.reason_of[bucket[0]])
    if reason >= 0:
        return solution.reasons[reason]
    for member in members:
        layer = owner_of(member.tensor)
        for pattern in constraints.keep:
            if member.role == "out" and fnmatchcase(layer, pattern):
                return f"kept by --keep {pattern}"
    if len(bucket) == 1:
        return "is a single channel"
    return None
