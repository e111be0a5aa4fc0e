"""Searched: the part of ASCAI's settings that says what is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressc.array_types import FloatArray
from compressc.errors import GoalError
from compressc.passes.spaces.coordinates import METHODS, Method
from compressc.passes.spaces.search_space import SearchSpace
from compressc.passes.spaces.space_building import build_space
from compressc.passes.unit_features.registry import FeatureName, measure_feature
from compressc.passes.unit_features.samples import UnitSamples
from compressc.program import Program
from compressc.tasks.protocol import Task

_FEATURES: dict[str, FeatureName] = {
    "gradient": "gradient",
    "magnitude": "l1",
    "reconstruction": "reconstruction",
}


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
        importance: dict[str, FloatArray] = {}
        if "ps" in self.spaces:
            samples = UnitSamples(task, self.importance_samples, seed, "ascai")
            importance = measure_feature(program, _FEATURES[self.importance], samples)
        return build_space(program, self.spaces, importance)
