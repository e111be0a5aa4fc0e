"""Held-out data of a search: the search-validation split, or a sample of it, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch

from compressc.models.training_data import Labeled
from compressc.tasks.classification import ClassificationTask
from compressc.tasks.protocol import DataError, Task

# Held-out samples of a task that does not say how many it has.
_UNKNOWN = 1000


@runtime_checkable
class Sampled(Protocol):
    """A task of other people that can make its search-validation split smaller."""

    def sample_validation(self, samples: int, seed: int) -> Task:
        """Return this task with at most ``samples`` search-validation samples."""
        ...


def hold_out(task: Task, samples: int, seed: int) -> Task:
    """Return a task to validate candidates on: fewer samples, and for images no other split.

    Without training and test images a task is small enough to travel, and the test split is out
    of a search's reach.

    Args:
        task: the whole task.
        samples: how many search-validation samples; 0 for all.
        seed: decides which.

    Raises:
        DataError: if a sample is asked for and the task cannot be sampled.
    """
    if isinstance(task, ClassificationTask):
        val = task.data.val
        if 0 < samples < len(val):
            order = torch.randperm(len(val), generator=torch.Generator().manual_seed(seed))
            val = val.take(order[:samples].sort().values)
        nothing = Labeled(val.images[:0].clone(), val.labels[:0].clone())
        # Slices share the memory of the whole; copies leave it behind.
        val = Labeled(val.images.clone(), val.labels.clone())
        data = replace(task.data, train=nothing, val=val, test=nothing)
        return replace(task, data=data, augmentation=None)
    if not samples:
        return task
    if isinstance(task, Sampled):
        return task.sample_validation(samples, seed)
    raise DataError(
        f"{type(task).__name__} cannot be validated on {samples} samples: it has no method "
        "sample_validation(samples, seed); leave the number of samples at 0"
    )


def count_held_out(task: Task) -> int:
    """Return about how many samples one validation runs over."""
    return len(task.data.val) if isinstance(task, ClassificationTask) else _UNKNOWN
