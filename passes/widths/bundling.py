"""Bundles: sets of units that may leave a group without upsetting its partitions.

A grouped convolution wants every conv group to keep as many channels as any other. Units are
therefore taken in bundles that hold equally many units of every label.
"""

from __future__ import annotations

from math import lcm

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array

from compressc.array_types import FloatArray, IntArray
from compressc.errors import RuleError


def bundle(importance: FloatArray, partitions: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
    """Split the units of a group into bundles, least important first.

    One partition: the k-th least important units of each label form bundle k. Two partitions: the
    cheapest perfect matching between their labels, again and again. More: by position; one bundle
    of everything where positions do not balance either.

    Args:
        importance: per unit, shape (units,).
        partitions: per entry one label per unit, shape (units,); labels are equally frequent.

    Returns:
        Disjoint arrays of units that cover the group.

    Raises:
        RuleError: if a partition is unbalanced to begin with.
    """
    labels = _distinct(partitions)
    if not labels:
        return tuple(np.argsort(importance, kind="stable")[:, None])
    if len(labels) == 1:
        return tuple(_by_rank(importance, labels[0]))
    if len(labels) == 2:
        if labels[0].max() == labels[1].max():
            return _by_matching(importance, labels[0], labels[1])
        return _by_flow(importance, labels[0], labels[1])
    return _by_position(importance, labels)


def _distinct(partitions: tuple[IntArray, ...]) -> list[IntArray]:
    """Return partitions with labels 0, 1, ... by first appearance, repeats and trivia left out."""
    distinct: dict[bytes, IntArray] = {}
    for labels in partitions:
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        canonical = np.argsort(np.argsort(first))[inverse].astype(np.int64)
        counts = np.bincount(canonical)
        if counts.min() != counts.max():
            raise RuleError(f"a partition has labels of unequal sizes {sorted(set(counts))}")
        if len(counts) > 1:
            distinct[canonical.tobytes()] = canonical
    return list(distinct.values())


def _by_rank(importance: FloatArray, labels: IntArray) -> IntArray:
    """Return bundles as rows, shape (units / labels, labels)."""
    order = np.lexsort((importance, labels))
    return order.reshape(int(labels.max()) + 1, -1).T


def _by_matching(importance: FloatArray, left: IntArray, right: IntArray) -> tuple[IntArray, ...]:
    """Take the cheapest unit of matched label pairs until none is left.

    What remains is a regular bipartite multigraph after every round, so that a perfect matching
    exists to the end.
    """
    sides = int(left.max()) + 1
    queues: list[list[list[int]]] = [[[] for _ in range(sides)] for _ in range(sides)]
    for unit in np.argsort(-importance, kind="stable"):
        queues[left[unit]][right[unit]].append(int(unit))
    cost = np.full((sides, sides), np.inf)
    for i in range(sides):
        for j in range(sides):
            if queues[i][j]:
                cost[i, j] = importance[queues[i][j][-1]]
    bundles = []
    for _ in range(len(importance) // sides):
        rows, columns = linear_sum_assignment(cost)
        bundles.append(np.array([queues[i][j].pop() for i, j in zip(rows, columns, strict=True)]))
        for i, j in zip(rows, columns, strict=True):
            cost[i, j] = importance[queues[i][j][-1]] if queues[i][j] else np.inf
    return tuple(bundles)


def _by_flow(importance: FloatArray, left: IntArray, right: IntArray) -> tuple[IntArray, ...]:
    """Take the cheapest set with equally many units of every label, for unequal label counts.

    Incidence matrices of bipartite graphs are totally unimodular: the vertex that the simplex
    method returns is integral.
    """
    sides = (int(left.max()) + 1, int(right.max()) + 1)
    width = lcm(*sides)
    per_label = np.concatenate([np.full(side, width // side) for side in sides])
    alive = np.arange(len(importance))
    bundles = []
    while len(alive) > width:
        columns = np.arange(len(alive))
        incidence = coo_array(
            (
                np.ones(2 * len(alive)),
                (np.concatenate([left[alive], sides[0] + right[alive]]), np.tile(columns, 2)),
            ),
            shape=(sum(sides), len(alive)),
        ).tocsr()
        solution = linprog(
            importance[alive], A_eq=incidence, b_eq=per_label, bounds=(0, 1), method="highs-ds"
        )
        taken = solution.x > 0.5
        bundles.append(alive[taken])
        alive = alive[~taken]
    return (*bundles, alive)


def _by_position(importance: FloatArray, labels: list[IntArray]) -> tuple[IntArray, ...]:
    """Take evenly spaced units, or runs of neighbours, whichever balances every partition."""
    width = lcm(*(int(partition.max()) + 1 for partition in labels))
    units = np.arange(len(importance))
    if len(units) % width == 0:
        for layout in (units.reshape(width, -1).T, units.reshape(-1, width)):
            if all(_balanced(f[row], int(f.max()) + 1) for f in labels for row in layout):
                order = np.argsort(importance[layout].sum(axis=1), kind="stable")
                return tuple(layout[order])
    return (units,)


def _balanced(labels: IntArray, sides: int) -> bool:
    counts = np.bincount(labels, minlength=sides)
    return bool(counts.min() == counts.max())
