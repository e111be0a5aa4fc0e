"""The lesson: what one step of training teaches. The engine of epochs does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from compressc.passes.training.standing import Standing
from compressc.tasks.protocol import Batch


class Lesson(Protocol):
    """Something that learns from batches.

    The engine calls ``begin_epoch``, then ``step`` for every batch, then ``is_finite`` and
    ``end_epoch``, then ``judge``. Who learns in an epoch may depend on its number: a lesson that
    alternates trains one part of a network in even epochs and another one in odd ones.
    """

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for the steps of an epoch; the first is 0."""
        ...

    def step(self, batch: Batch) -> Tensor:
        """Learn from one batch and return this process's part of its mean loss, a scalar.

        Nothing may depend on its gradient any more.
        """
        ...

    def end_epoch(self) -> None:
        """Settle what the processes have to agree on."""
        ...

    def is_finite(self) -> bool:
        """Return whether everything that was learned is a number."""
        ...

    def judge(self) -> float:
        """Return the metric on search-validation; called in the main process alone."""
        ...

    def outcome(self) -> Mapping[str, Any]:
        """Return what would be the result if training ended now.

        Tensors, nested in mappings, and plain values; shared, not copied.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that the next epoch starts from (shared, not copied)."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        ...

    def describe(self, standing: Standing) -> str:
        """Return what a user wants to read beside the loss, in a few words."""
        ...
