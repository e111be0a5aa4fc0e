"""Survey of a task's training split: its first batch and its length."""

from __future__ import annotations

from compressc.errors import DataError
from compressc.tasks.capabilities import CountsSteps
from compressc.tasks.protocol import Batch, Task


def survey_training(task: Task, seed: int, user: str) -> tuple[Batch, int]:
    """Return the first training batch and how many batches an epoch has.

    Args:
        task: whose training split is looked at. An epoch is read through to count its batches
            where the task does not know their number.
        seed: of the batches.
        user: the pass that asks, for the error.

    Raises:
        DataError: if there is no batch.
    """
    batches = iter(task.train_batches(0, seed))
    first = next(batches, None)
    if first is None:
        raise DataError(f"{user}: the training split gives no batch; give more data")
    steps = task.train_steps() if isinstance(task, CountsSteps) else None
    return first, 1 + sum(1 for _ in batches) if steps is None else int(steps)
