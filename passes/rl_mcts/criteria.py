"""Criteria: by what number a slimmed network is better than another (Table 4 of the paper)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import inf, isfinite
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from compressc.content import feed_content
from compressc.errors import DataError
from compressc.store.identity import identify_task
from compressc.tasks.capabilities import DropsOtherSplits, GivesValidation, TellsCorrect
from compressc.tasks.protocol import Batch, Inputs, Task

Criterion = Literal["accuracy", "absolute-accuracy", "loss", "absolute-loss"]
Split = Literal["validation", "training"]
# Samples of the training split where nobody says how many.
_TRAINING_SAMPLES = 5000


@dataclass(frozen=True)
class Standard:
    """What the metric of a candidate is worth; higher is better.

    Attributes:
        base: the metric of the original.
        absolute: whether a candidate better than the original is as bad as one that is as much
            worse.
    """

    base: float
    absolute: bool

    def score(self, metric: float) -> float:
        """Return minus the drop, or minus its absolute value; a metric that is no number loses."""
        if not isfinite(metric):
            return -inf
        gain = metric - self.base
        return -abs(gain) if self.absolute else gain


@dataclass(frozen=True, eq=False)
class BatchJudge:
    """A task that validates on given batches, by its loss or by its accuracy.

    Attributes:
        task: whose loss counts.
        batches: labelled.
        by_loss: whether the metric is minus the mean loss; else the share of right answers, in
            percent.
    """

    task: Task
    batches: tuple[Batch, ...]
    by_loss: bool
    metric_name: ClassVar[str] = "criterion"

    def validate(self, module: nn.Module) -> float:
        """Return the metric of a module; higher is better."""
        was_training = module.training
        module.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for inputs, targets in self.batches:
                outputs = module(*inputs)
                rows = len(inputs[0])
                total += rows * self._metric(outputs, targets)
                count += rows
        module.train(was_training)
        return total / count

    def _metric(self, outputs: Any, targets: Any) -> float:
        if self.by_loss:
            return -float(self.task.loss(outputs, targets))
        if isinstance(self.task, TellsCorrect):
            return 100.0 * float(self.task.correct(outputs, targets).double().mean())
        if not isinstance(outputs, Tensor) or outputs.dim() != 2:
            raise DataError(
                f"{type(self.task).__name__} does not tell which answers on training samples are "
                "right: give it a method correct(outputs, targets), or judge by --criterion loss"
            )
        return 100.0 * float((outputs.argmax(1) == targets).double().mean())

    def count_validation(self) -> int:
        """Return the number of samples."""
        return sum(len(inputs[0]) for inputs, _ in self.batches)

    def keep_validation(self) -> BatchJudge:
        """Return this task without what the batches do not need."""
        if isinstance(self.task, DropsOtherSplits):
            return replace(self, task=self.task.keep_validation())
        return self

    def fingerprint(self) -> str:
        """Return a digest of everything that judges."""
        digest = hashlib.sha256()
        feed_content(digest, (identify_task(self.task), self.batches, self.by_loss))
        return digest.hexdigest()

    def train_batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield the training split of the task."""
        return self.task.train_batches(epoch, seed)

    def calibration_batches(self, samples: int, seed: int) -> Iterator[Inputs]:
        """Yield unlabelled training samples of the task."""
        return self.task.calibration_batches(samples, seed)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of the task."""
        return self.task.loss(outputs, targets)

    def evaluate(self, module: nn.Module) -> float:
        """Return the metric of the task on its test split, which no search asks for."""
        return self.task.evaluate(module)


def choose_judge(task: Task, criterion: Criterion, split: Split, samples: int, seed: int) -> Task:
    """Return the task whose ``validate`` is the criterion on a split.

    Args:
        task: with all its splits.
        criterion: accuracy stands for the task's own metric where search-validation judges.
        split: which judges.
        samples: how many; 0 for all, or 5000 of the training split.
        seed: decides which.

    Raises:
        DataError: if the task does not give what is needed.
    """
    by_loss = criterion.endswith("loss")
    if split == "training":
        batches = _first(task.train_batches(0, seed), samples or _TRAINING_SAMPLES)
        if not batches:
            raise DataError("rl-mcts: the training split is empty, and it is to judge")
        return BatchJudge(task, batches, by_loss)
    if not by_loss:
        return task
    if not isinstance(task, GivesValidation):
        raise DataError(
            f"{type(task).__name__} does not give its search-validation split with labels: it "
            "lacks validation_batches(); judge by --criterion accuracy, or --judged-on training"
        )
    return BatchJudge(task, tuple(task.validation_batches(samples, seed)), True)


def _first(batches: Iterable[Batch], samples: int) -> tuple[Batch, ...]:
    """Return batches until there are enough samples."""
    taken, count = [], 0
    for inputs, targets in islice(batches, samples):
        taken.append((inputs, targets))
        count += len(inputs[0])
        if count >= samples:
            break
    return tuple(taken)
