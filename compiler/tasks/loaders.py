"""A Task from data loaders and two functions: segmentation, regression, anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn

from compressc.content import feed_content
from compressc.errors import DataError
from compressc.program import Program
from compressc.tasks.protocol import Batch, Inputs

# What torch raises where data do not fit a model or a loss.
_UNFIT = (IndexError, RuntimeError, ValueError, TypeError)

Metric = Callable[[Iterable[tuple[Any, Any]]], float]


def mean_of(per_sample: Callable[[Any, Any], Tensor]) -> Metric:
    """Return a metric that averages a score per sample, given one batch at a time.

    Args:
        per_sample: maps outputs and targets of a batch to scores (N,), higher is better.
    """

    def metric(pairs: Iterable[tuple[Any, Any]]) -> float:
        scores = [per_sample(outputs, targets).double().flatten() for outputs, targets in pairs]
        return float(torch.cat(scores).mean())

    return metric


@dataclass(frozen=True, eq=False)
class LoaderTask:
    """Loaders of (inputs, targets), a loss and a metric.

    A loader is anything that can be iterated again and again, such as a
    ``torch.utils.data.DataLoader``; inputs are a tensor or a tuple of tensors.

    Attributes:
        train, val, test: one loader per split.
        loss_function: maps outputs and targets to the mean loss of a batch.
        metric: maps pairs of outputs and targets, batch by batch, to a number, higher is better;
            see :func:`mean_of`.
        metric_name: what the number is, with its unit.
    """

    train: Iterable[Any]
    val: Iterable[Any]
    test: Iterable[Any]
    loss_function: Callable[[Any, Any], Tensor]
    metric: Metric
    metric_name: str

    def train_batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield the training split once; a loader that shuffles does so from this seed."""
        # Samplers draw their seed before the first batch; the caller's random state stays its own.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 100_003 + epoch)
            items = iter(self.train)
            first = list(islice(items, 1))
        yield from map(_as_batch, chain(first, items))

    def train_steps(self) -> int | None:
        """Return how many batches the training loader has, None where it does not say."""
        return len(self.train) if isinstance(self.train, Sized) else None

    def fingerprint(self) -> str:
        """Return a digest of what passes see; its first batch stands for each split.

        Raises:
            NoIdentityError: if the loss or the metric cannot be told from another one.
        """
        return _digest(self, self.train, self.val, self.loss_function)

    def test_fingerprint(self) -> str:
        """Return a digest of the metric and the test split, its first batch standing for it.

        Raises:
            NoIdentityError: if the metric cannot be told from another one.
        """
        return _digest(self, self.test)

    def calibration_batches(self, samples: int, seed: int) -> Iterator[Inputs]:
        """Yield the inputs of the first training batches, at least ``samples`` if there are.

        Inputs are as the training loader gives them, augmented if it augments.
        """
        missing = samples
        for inputs, _targets in self.train_batches(0, seed):
            if missing <= 0:
                return
            yield tuple(tensor[:missing] for tensor in inputs)
            missing -= len(inputs[0])

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean loss of a batch.

        Raises:
            DataError: if the loss function fails, as on labels outside the model's classes.
        """
        try:
            return self.loss_function(outputs, targets)
        except _UNFIT as error:
            raise DataError(
                f"the loss cannot be computed on a batch ({type(error).__name__}: {error}); check "
                "that the targets fit the model's outputs"
            ) from error

    def validate(self, module: nn.Module) -> float:
        """Return the metric on the search-validation split."""
        return self._score(module, self.val)

    def evaluate(self, module: nn.Module) -> float:
        """Return the metric on the test split."""
        return self._score(module, self.test)

    def check_model(self, program: Program) -> None:
        """Check that a model reads the first batch for training, and that the loss fits.

        Raises:
            DataError: if there is no batch, or it does not fit.
        """
        first = next(self.train_batches(0, 0), None)
        if first is None:
            raise DataError("the training loader gives no batch; give more data")
        inputs, targets = first
        expected = [tuple(tensor.shape[1:]) for tensor in program.example_inputs]
        given = [tuple(tensor.shape[1:]) for tensor in inputs]
        try:
            with torch.no_grad():
                outputs = program.graph_module(*inputs)
        except _UNFIT as error:
            raise DataError(
                f"the model cannot read the batches of the training loader: it reads {expected} "
                f"beside the batch, they are {given}"
            ) from error
        self.loss(outputs, targets)

    def prepare(self, inputs: Inputs) -> Inputs:
        """Return what a loader gave for evaluation as the model reads it; here as it is."""
        return inputs

    def _score(self, module: nn.Module, loader: Iterable[Any]) -> float:
        was_training = module.training
        module.eval()
        device = next((p.device for p in module.parameters()), torch.device("cpu"))

        def pairs() -> Iterator[tuple[Any, Any]]:
            for inputs, targets in map(_as_batch, loader):
                inputs = self.prepare(inputs)
                outputs = module(*(tensor.to(device) for tensor in inputs))
                yield (outputs.cpu() if isinstance(outputs, Tensor) else outputs), targets

        with torch.no_grad():
            score = float(self.metric(pairs()))
        module.train(was_training)
        return score


def _digest(task: LoaderTask, *parts: Any) -> str:
    """Return a digest of a task's class, its metric, and functions and loaders."""
    digest = hashlib.sha256()
    feed_content(digest, (type(task), task.metric, task.metric_name))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in parts:
            if isinstance(part, Iterable):
                feed_content(digest, len(part) if isinstance(part, Sized) else None)
                part = next(iter(part), None)
            feed_content(digest, part)
    return digest.hexdigest()


def _as_batch(item: Any) -> Batch:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise DataError("a data loader must give (inputs, targets) pairs")
    inputs, targets = item
    if isinstance(inputs, Tensor):
        return (inputs,), targets
    if isinstance(inputs, (tuple, list)) and all(isinstance(x, Tensor) for x in inputs):
        return tuple(inputs), targets
    raise DataError("the inputs of a data loader must be a tensor or a tuple of tensors")
