"""The Task: what a model is for. Its data in three splits, its loss and its metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from compressc.errors import DataError

# The positional arguments of one call of the model.
Inputs = tuple[Tensor, ...]
# Inputs and what the loss compares the outputs with.
Batch = tuple[Inputs, Any]


class Scored(Protocol):
    """Held-out data and a metric on it: all that a report needs."""

    @property
    def metric_name(self) -> str:
        """What :meth:`evaluate` returns, such as "accuracy [%]"."""
        ...

    def evaluate(self, module: nn.Module) -> float:
        """Return the metric of ``module`` on data that no pass has seen; higher is better."""
        ...


@runtime_checkable
class Task(Scored, Protocol):
    """Data, loss and metric.

    Passes train on the train split and choose by :meth:`validate`, which sees the
    search-validation split. The test split is for :meth:`evaluate` alone, which only the report
    calls. The same seed gives the same batches.

    What else a task may offer stands in :mod:`compressc.tasks.capabilities`.
    """

    def train_batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield the augmented training split once, in an order of its own for each epoch."""
        ...

    def calibration_batches(self, samples: int, seed: int) -> Iterator[Inputs]:
        """Yield up to ``samples`` training samples without labels and without augmentation."""
        ...

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean loss of a batch, a scalar with a gradient."""
        ...

    def validate(self, module: nn.Module) -> float:
        """Return the metric of ``module`` on the search-validation split; higher is better."""
        ...


def draw_samples(task: Task, samples: int, seed: int, user: str) -> list[Inputs]:
    """Return batches of unlabelled training samples.

    Raises:
        DataError: if there are none.
    """
    batches = list(task.calibration_batches(samples, seed))
    if not batches:
        raise DataError(
            f"{user}: the training split gives no samples; give more data, or a pass that needs "
            "none, such as --pass magnitude"
        )
    return batches


def require_task(task: Scored | None, user: str) -> Task:
    """Return the task, or say that it is missing or lacks something.

    Args:
        task: what a pass was given.
        user: the pass, for the error.

    Raises:
        DataError: if there is no task, or it is not complete.
    """
    if task is None:
        raise DataError(f"{user} needs data; give --data DIR, or task=... in Python")
    if not isinstance(task, Task):
        methods = ("train_batches", "calibration_batches", "loss", "validate", "evaluate")
        lacking = [name for name in methods if not callable(getattr(task, name, None))]
        named = (*lacking, "metric_name")[0]
        raise DataError(f"{user} needs a whole Task; {type(task).__name__} lacks {named}")
    return task
