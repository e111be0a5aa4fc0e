"""Searched: the part of ASCAI's settings that says what is searched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from compressc.array_types import FloatArray
from compressc.errors import GoalError
from compressc.pass_protocol import ignore_progress
from compressc.passes.activation_gradients import measure_gradient_importance
from compressc.passes.importance import measure_importance
from compressc.passes.reconstruction.importance import measure_reconstruction_importance
from compressc.passes.spaces.coordinates import METHODS, Method
from compressc.passes.spaces.search_space import SearchSpace
from compressc.passes.spaces.space_building import build_space
from compressc.program import Program
from compressc.tasks.protocol import Batch, Task, draw_samples

# Of the least squares behind the importance by reconstruction; the surgeon's default.
_RIDGE = 1e-3


@dataclass(frozen=True)
class Searched:
    """What is searched, and which channels leave first.

    Attributes:
        spaces: what is searched, together in one individual: "ps" channels, "pn" single weights,
            "svd" ranks of linear and 1x1 layers, "tucker" ranks of other convolutions.
        importance: of channels, for "ps": "gradient" at the activations, "magnitude", or
            "reconstruction", the error that calibrate, run afterwards, cannot repair.
        importance_samples: training samples for "gradient" and "reconstruction".

    Raises:
        GoalError: if a space is unknown, or there are no samples.
    """

    spaces: tuple[Method, ...] = ("ps", "svd", "tucker")
    importance: Literal["gradient", "magnitude", "reconstruction"] = "gradient"
    importance_samples: int = 512

    def __post_init__(self) -> None:
        if not self.spaces or set(self.spaces) - set(METHODS):
            raise GoalError(f"spaces {','.join(self.spaces)}: give some of {', '.join(METHODS)}")
        if self.importance_samples < 1:
            raise GoalError(f"importance_samples {self.importance_samples}: at least 1 is needed")

    def build_space(self, program: Program, task: Task, seed: int) -> SearchSpace:
        """Return the space of a program.

        Raises:
            DataError: if importance needs samples that the task does not give.
            PlanError: if nothing of the program can be compressed in these spaces.
        """
        return build_space(program, self.spaces, self._measure_importance(program, task, seed))

    def _measure_importance(self, program: Program, task: Task, seed: int) -> dict[str, FloatArray]:
        if "ps" not in self.spaces:
            return {}
        if self.importance == "magnitude":
            return measure_importance(program, "l1")
        if self.importance == "reconstruction":
            batches = draw_samples(task, self.importance_samples, seed, "ascai")
            return measure_reconstruction_importance(program, batches, _RIDGE, ignore_progress)
        batches_with_labels = _first_samples(task, self.importance_samples, seed)
        return measure_gradient_importance(program, task, batches_with_labels)


def _first_samples(task: Task, samples: int, seed: int) -> Iterator[Batch]:
    """Yield training batches until there are enough samples."""
    seen = 0
    for inputs, targets in islice(task.train_batches(0, seed), samples):
        yield inputs, targets
        seen += len(inputs[0])
        if seen >= samples:
            return
