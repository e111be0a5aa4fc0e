"""EqualCount: blocks of channels that must shrink alike, in terms of solved classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressc.array_types import IntArray
from compressc.channels.axes import Solution
from compressc.rules.propagation import Propagation
from compressc.rules.records import EqualCount


@dataclass(frozen=True, eq=False)
class Partition:
    """An EqualCount over solved classes.

    Attributes:
        constraint: where it comes from.
        classes: the classes it speaks of, sorted, shape (classes,).
        labels: the block of each, shape (classes,).
    """

    constraint: EqualCount
    classes: IntArray
    labels: IntArray


def resolve_partitions(propagation: Propagation) -> tuple[Solution, list[Partition]]:
    """Solve the id space, and turn every EqualCount into labels over classes.

    A constraint whose classes do not lie in exactly one block each is met by joining position j of
    every block instead; that changes classes, so the others are looked at again.
    """
    while True:
        solution = propagation.space.solve()
        partitions: list[Partition] = []
        joined = False
        for constraint in list(propagation.records.equal_counts):
            verdict = _labels(constraint, solution)
            if verdict is None:
                join_blocks(propagation, constraint)
                joined = True
            elif len(verdict[0]):
                partitions.append(Partition(constraint, *verdict))
        if not joined:
            return solution, partitions


def _labels(constraint: EqualCount, solution: Solution) -> tuple[IntArray, IntArray] | None:
    """Return (classes, labels), empty where nothing can break the rule, None where joins must."""
    classes = solution.class_of[constraint.ids].reshape(constraint.parts, -1)
    free = solution.reason_of[classes] < 0
    if not free.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ordered = np.sort(classes, axis=1)
    if bool((ordered == ordered[:1]).all()):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    distinct, counts = np.unique(classes, return_counts=True)
    if not free.all() or counts.max() > 1:
        return None
    labels = np.repeat(np.arange(constraint.parts), classes.shape[1])
    order = np.argsort(classes.reshape(-1))
    return distinct, labels[order]


def join_blocks(propagation: Propagation, constraint: EqualCount) -> None:
    """Meet an EqualCount the simple way: position j of every block leaves together."""
    blocks = constraint.ids.reshape(constraint.parts, -1)
    for block in blocks[1:]:
        propagation.space.join(blocks[0], block)
    propagation.records.equal_counts.remove(constraint)
