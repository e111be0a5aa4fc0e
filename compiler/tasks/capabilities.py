"""Capabilities: what a task may offer beyond the methods that every task must have.

Each is a protocol of one attribute or method. A task has a capability by having that attribute;
nothing needs to be inherited or registered. Whoever uses a capability asks with ``isinstance`` and
does without it where the answer is no.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

if TYPE_CHECKING:
    from compressc.program import Program
    from compressc.tasks.agreement import Agreement
    from compressc.tasks.protocol import Batch, Inputs, Task


@runtime_checkable
class GivesTraining(Protocol):
    """A task with a training split."""

    def train_batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield the training split once, in an order of its own for each epoch."""
        ...


@runtime_checkable
class GivesSamples(Protocol):
    """A task that gives inputs without labels, such as for the calibration of int8."""

    def calibration_batches(self, samples: int, seed: int) -> Iterator[Inputs]:
        """Yield batches with up to ``samples`` training samples in all."""
        ...


@runtime_checkable
class CountsSteps(Protocol):
    """A task that knows the length of an epoch, so that nobody has to read it through to count."""

    def train_steps(self) -> int | None:
        """Return how many batches an epoch of ``train_batches`` has, or None if unknown."""
        ...


@runtime_checkable
class TellsCorrect(Protocol):
    """A task that says which predictions are right. Rewards of agents (decore) need this."""

    def correct(self, outputs: Any, targets: Any) -> Tensor:
        """Return one bool per sample, shape (N,)."""
        ...


@runtime_checkable
class ChecksModel(Protocol):
    """A task that can tell beforehand whether a model fits its data."""

    def check_model(self, program: Program) -> None:
        """Return if the model can be used on these data.

        Raises:
            DataError: if it cannot.
        """
        ...


@runtime_checkable
class HasFingerprint(Protocol):
    """A task with a digest of its own, by which a run that was cut off knows its data again."""

    def fingerprint(self) -> str:
        """Return a text that changes with everything that passes see: not with the test split."""
        ...


@runtime_checkable
class HasTestFingerprint(Protocol):
    """A task with a digest of its test split, by which a metric of an earlier run is trusted."""

    def test_fingerprint(self) -> str:
        """Return a text that changes with everything that ``evaluate`` sees."""
        ...


@runtime_checkable
class DescribesInput(Protocol):
    """A task that knows how its inputs were made."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What an ONNX file should say about its input, by metadata key."""
        ...


@runtime_checkable
class HasNotes(Protocol):
    """A task with remarks for the report, such as on files that could not be read."""

    @property
    def notes(self) -> Sequence[str]:
        """One sentence each."""
        ...


@runtime_checkable
class SamplesValidation(Protocol):
    """A task whose search-validation split can be made smaller, so that candidates cost less."""

    def sample_validation(self, samples: int, seed: int) -> Task:
        """Return this task with at most ``samples`` search-validation samples.

        Args:
            samples: at least 1.
            seed: decides which samples.
        """
        ...


@runtime_checkable
class GivesValidation(Protocol):
    """A task that gives its search-validation split with labels, so that its loss can judge."""

    def validation_batches(self, samples: int, seed: int) -> Iterator[Batch]:
        """Yield labelled search-validation samples in batches.

        Args:
            samples: at most so many; 0 for all.
            seed: decides which.
        """
        ...


@runtime_checkable
class CountsValidation(Protocol):
    """A task that knows how many samples one validation runs over."""

    def count_validation(self) -> int:
        """Return the number of search-validation samples."""
        ...


@runtime_checkable
class DropsOtherSplits(Protocol):
    """A task that can leave its training and test data behind.

    What is left is small enough to travel to other processes, and a search that is given nothing
    else cannot look at the test split.
    """

    def keep_validation(self) -> Task:
        """Return this task with its search-validation split only."""
        ...


@runtime_checkable
class ComparesWithOriginal(Protocol):
    """A task without labels: it judges a model by how far it agrees with the original."""

    @property
    def inputs_from(self) -> str:
        """Where its inputs come from, for people, such as "synthetic inputs"."""
        ...

    def compare(self, module: nn.Module) -> Agreement:
        """Return how far a module agrees with the original on the test split."""
        ...
