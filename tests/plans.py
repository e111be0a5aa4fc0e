"""Random valid plans for a coupling."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from compressc.array_types import BoolArray
from compressc.coupling.graph import Coupling
from compressc.coupling.groups import ChannelGroup
from compressc.coupling.weight_masks import contracted_weights
from compressc.plan import Plan


def free_groups(coupling: Coupling) -> list[ChannelGroup]:
    """Return the groups that a plan may touch."""
    return [group for group in coupling.groups if group.pinned is None]


def choose(group: ChannelGroup, count: int, rng: np.random.Generator) -> BoolArray | None:
    """Keep ``count`` random units spread equally over every partition, or None if none can."""
    if not group.partitions:
        mask = np.zeros(group.size, dtype=bool)
        mask[rng.permutation(group.size)[:count]] = True
        return mask
    rows, bounds = [np.ones(group.size)], [float(count)]
    for labels in group.partitions:
        blocks = int(labels.max()) + 1
        if count % blocks:
            return None
        for label in range(blocks):
            rows.append((labels == label).astype(float))
            bounds.append(count / blocks)
    solved = milp(
        rng.random(group.size),
        constraints=LinearConstraint(np.stack(rows), bounds, bounds),
        integrality=np.ones(group.size),
        bounds=Bounds(0, 1),
    )
    return solved.x.round().astype(bool) if solved.success else None


def counts(group: ChannelGroup) -> list[int]:
    """Return the numbers of units that may stay, fewest first."""
    rng = np.random.default_rng(0)
    least = max(group.minimum, 0)
    return [n for n in range(least, group.size + 1) if choose(group, n, rng) is not None]


def random_plan(coupling: Coupling, seed: int) -> Plan:
    """Return a plan that removes something from most free groups, nothing from a few."""
    rng = np.random.default_rng(seed)
    keep: dict[str, BoolArray] = {}
    groups = free_groups(coupling)
    spared = rng.random(len(groups)) < 0.1
    for group, spare in zip(groups, spared, strict=True):
        possible = [n for n in counts(group) if n >= max(group.minimum, group.size // 4)]
        if (spare and not spared.all()) or len(possible) < 2:
            continue
        mask = choose(group, int(rng.choice(possible[:-1])), rng)
        assert mask is not None
        keep[group.name] = mask
    return Plan(keep=keep)


def with_random_zeros(plan: Plan, coupling: Coupling, seed: int) -> Plan:
    """Return the plan with half of every weight that something sums over masked to zero."""
    rng = np.random.default_rng(seed)
    shapes = {
        name: coupling.propagation.tensors[name].shape for name in contracted_weights(coupling)
    }
    return plan.with_zero({name: rng.random(tuple(shape)) < 0.5 for name, shape in shapes.items()})


def smallest_plan(coupling: Coupling, seed: int = 0) -> Plan:
    """Return a plan that keeps as little of everything as is allowed."""
    rng = np.random.default_rng(seed)
    keep: dict[str, BoolArray] = {}
    for group in free_groups(coupling):
        mask = choose(group, counts(group)[0], rng)
        assert mask is not None
        keep[group.name] = mask
    return Plan(keep=keep)


def single_plans(coupling: Coupling, seed: int = 0) -> Iterator[Plan]:
    """Return, group by group, the plan that removes as little as possible from that group."""
    rng = np.random.default_rng(seed)
    for group in free_groups(coupling):
        possible = counts(group)
        if len(possible) > 1:
            mask = choose(group, possible[-2], rng)
            assert mask is not None
            yield Plan(keep={group.name: mask})
