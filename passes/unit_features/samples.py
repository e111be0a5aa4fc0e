"""Samples: what features of units are measured on."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import islice

from compressc.tasks.protocol import Batch, Inputs, Task, draw_samples


@dataclass(frozen=True, eq=False)
class UnitSamples:
    """Training samples of a task, the same whenever they are asked for.

    Attributes:
        task: whose training split they come from, and whose loss counts.
        count: how many; a few more where batches do not end there.
        seed: decides which.
        user: the pass that needs them, for errors.
    """

    task: Task
    count: int
    seed: int
    user: str

    @property
    def key(self) -> Hashable:
        """What tells these samples from others, as long as the task lives."""
        return id(self.task), self.count, self.seed

    def unlabelled(self) -> list[Inputs]:
        """Return batches without labels.

        Raises:
            DataError: if there are none.
        """
        return draw_samples(self.task, self.count, self.seed, self.user)

    def labelled(self) -> Iterator[Batch]:
        """Yield batches of inputs and targets until there are enough samples."""
        seen = 0
        for inputs, targets in islice(self.task.train_batches(0, self.seed), self.count):
            yield inputs, targets
            seen += len(inputs[0])
            if seen >= self.count:
                return
