"""The length of a task's training split."""

from __future__ import annotations

from compressc.errors import DataError
from compressc.tasks.capabilities import CountsSteps
from compressc.tasks.protocol import Task


def count_training_steps(task: Task, seed: int, user: str) -> int:
    """Return how many batches an epoch has.

    Args:
        task: an epoch of it is read through where it does not know the number.
        seed: of the batches.
        user: the pass that asks, for the error.

    Raises:
        DataError: if there is no batch.
    """
    batches = iter(task.train_batches(0, seed))
    if next(batches, None) is None:
        raise DataError(f"{user}: the training split gives no batch; give more data")
    steps = task.train_steps() if isinstance(task, CountsSteps) else None
    return 1 + sum(1 for _ in batches) if steps is None else int(steps)
