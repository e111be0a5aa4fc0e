"""The context: what a pass may use besides the program."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compressc.clock import ProgressCallback, ignore_progress
from compressc.goal import Goal
from compressc.program import Program
from compressc.target import Target
from compressc.tasks.protocol import Scored


@dataclass(frozen=True)
class Context:
    """What a pass may use besides the program.

    Attributes:
        goal: bounds, budget and seed.
        task: data, loss and metric, or None for passes that need no data.
        progress: called with (done, total, text).
        work_dir: where resumable state goes, or None to keep none. A pass gets a folder of its
            own, which need not exist yet and is removed when the pass is done.
        original: the program before any pass, such as a teacher of distillation.
        target: where and how the result will be run: what a latency in the goal is meant for.
    """

    goal: Goal = field(default_factory=Goal)
    task: Scored | None = None
    progress: ProgressCallback = ignore_progress
    work_dir: Path | None = None
    original: Program | None = None
    target: Target = field(default_factory=Target)

    def rng(self, stream: str) -> np.random.Generator:
        """Return a generator for one named use, the same for the same seed and name."""
        return np.random.default_rng([self.goal.seed, *stream.encode()])
