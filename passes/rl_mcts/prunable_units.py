"""Prunable units: the units of all groups that may shrink, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from compressc.array_types import BoolArray, FloatArray, IntArray
from compressc.coupling.graph import couple
from compressc.coupling.groups import ChannelGroup
from compressc.errors import PlanError
from compressc.latency.latency_model import LatencyModel
from compressc.passes.latency.useful_counts import with_useful_counts
from compressc.passes.widths.bundling import bundle
from compressc.passes.widths.ladders import build_ladder
from compressc.plan import Plan
from compressc.program import Program


@dataclass(frozen=True, eq=False)
class PrunableUnits:
    """The units of a program's groups one after another; :func:`list_units` makes it.

    Attributes:
        program: decisions other than ``keep`` stay as they are.
        groups: those that may shrink, in graph order.
        owner: index of each unit's group, shape (units,).
        bundles: per group the sets of units that leave together, least important first; most often
            one unit each.
        bundle_of: per unit the place of its bundle among those of its group, shape (units,).
        next_count: per group the next lower allowed count of each allowed count but the lowest.
    """

    program: Program
    groups: tuple[ChannelGroup, ...]
    owner: IntArray
    bundles: tuple[tuple[IntArray, ...], ...]
    bundle_of: IntArray
    next_count: tuple[Mapping[int, int], ...]

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self.owner)

    @property
    def everything(self) -> BoolArray:
        """A mask that keeps all units, shape (units,)."""
        return np.ones(self.count, dtype=bool)

    @cached_property
    def starts(self) -> IntArray:
        """Where the units of each group begin, and the end of the last, shape (groups + 1,)."""
        return np.concatenate([[0], np.cumsum([group.size for group in self.groups])])

    def flatten(self, values: Mapping[str, FloatArray]) -> FloatArray:
        """Return values by group name as one line, shape (units,)."""
        return np.concatenate([values[group.name] for group in self.groups]).astype(np.float64)

    def by_group(self, values: FloatArray) -> dict[str, FloatArray]:
        """Return a line of values by group name."""
        ends = zip(self.groups, self.starts[:-1], self.starts[1:], strict=True)
        return {group.name: values[start:end] for group, start, end in ends}

    def masks(self, kept: BoolArray) -> dict[str, BoolArray]:
        """Return which units each group keeps, by its name."""
        ends = zip(self.groups, self.starts[:-1], self.starts[1:], strict=True)
        return {group.name: kept[start:end] for group, start, end in ends}

    def counts(self, kept: BoolArray) -> tuple[int, ...]:
        """Return how many units each group keeps."""
        return tuple(int(n) for n in np.bincount(self.owner[kept], minlength=len(self.groups)))

    def plan_of(self, kept: BoolArray) -> Plan:
        """Return the plan that keeps some units, shape (units,)."""
        keep = {name: mask for name, mask in self.masks(kept).items() if not mask.all()}
        return couple(self.program).fit_ranks(replace(self.program.plan, keep=keep))

    def removed_shares(self, kept: BoolArray) -> tuple[float, ...]:
        """Return what share of its units each group loses."""
        return tuple(float(1 - mask.mean()) for mask in self.masks(kept).values())


def list_units(
    program: Program, importance: Mapping[str, FloatArray], latency: LatencyModel | None = None
) -> PrunableUnits:
    """Return the units of all groups of a program that may shrink.

    Args:
        program: the program; what its constraints keep is left out.
        importance: by group name, per unit: the order in which units leave together with another.
        latency: where time counts: counts that are no faster than a larger one are passed over.

    Raises:
        PlanError: if there are none.
    """
    groups, bundles, next_count = [], [], []
    for group in couple(program).groups:
        if group.pinned is not None:
            continue
        ladder = build_ladder(group, importance[group.name])
        if latency is not None:
            ladder = with_useful_counts(ladder, latency, latency.groups.index(group.name))
        counts = ladder.counts.tolist()
        if len(counts) < 2:
            continue
        groups.append(group)
        bundles.append(bundle(importance[group.name], group.partitions))
        next_count.append(dict(zip(counts[1:], counts[:-1], strict=True)))
    if not groups:
        raise PlanError(
            "rl-mcts: this model has no channels that can leave; `compressc inspect` shows what is "
            "pinned and why; give a smaller --multiple-of, or keep fewer layers"
        )
    owner = np.repeat(np.arange(len(groups)), [group.size for group in groups])
    starts = np.cumsum([0, *(group.size for group in groups)])
    lined = tuple(
        tuple(start + units for units in parts)
        for start, parts in zip(starts, bundles, strict=False)
    )
    bundle_of = np.zeros(len(owner), dtype=np.int64)
    for parts in lined:
        for place, units in enumerate(parts):
            bundle_of[units] = place
    return PrunableUnits(program, tuple(groups), owner, lined, bundle_of, tuple(next_count))
