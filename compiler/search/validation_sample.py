"""Validation sample: the part of a task's search-validation split that judges candidates."""

from __future__ import annotations

from compressc.errors import DataError
from compressc.tasks.capabilities import (
    CountsValidation,
    DropsOtherSplits,
    SamplesValidation,
)
from compressc.tasks.protocol import Task

# What is taken for the number of samples where a task does not say how many it has.
_UNKNOWN = 1000


def sample_validation(task: Task, samples: int, seed: int) -> Task:
    """Return a task to validate candidates on: fewer samples and, where it can, no other split.

    A task without training and test data is small enough to travel, and the test split is out of a
    search's reach.

    Args:
        task: the whole task.
        samples: how many search-validation samples; 0 for all.
        seed: decides which.

    Raises:
        DataError: if a sample is asked for and the task cannot be sampled.
    """
    if samples:
        if not isinstance(task, SamplesValidation):
            raise DataError(
                f"{type(task).__name__} cannot be validated on {samples} samples: it has no method "
                "sample_validation(samples, seed); leave the number of samples at 0"
            )
        task = task.sample_validation(samples, seed)
    return task.keep_validation() if isinstance(task, DropsOtherSplits) else task


def count_validation(task: Task) -> int:
    """Return about how many samples one validation runs over."""
    return task.count_validation() if isinstance(task, CountsValidation) else _UNKNOWN
