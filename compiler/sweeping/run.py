"""A sweep's run: what all targets share, and the digest by which a finished target is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from compressc.goal import Goal
from compressc.pass_protocol import Pass
from compressc.program import Constraints, Program
from compressc.runtime.cost_store import read_table
from compressc.settings import Settings
from compressc.store.identity import identify
from compressc.sweeping.files import digest_file
from compressc.sweeping.inputs import DriftInputs
from compressc.tasks.protocol import Scored


@dataclass(frozen=True, eq=False)
class Run:
    """What all targets share."""

    program: Program
    passes: Sequence[Pass] | None
    task: Scored | None
    constraints: Constraints | None
    multiple_of: int | None
    settings: Settings
    goal: Goal
    folder: Path
    name: str
    original_onnx: onnx.ModelProto
    inputs: DriftInputs

    def key(self, goal: Goal) -> str:
        """Return a digest of everything that the row of a target depends on.

        A pass or a task that cannot be known again has another digest in every run, so that its
        targets are made anew.
        """
        settings, int8 = self.settings, self.settings.int8
        samples = Path(int8.samples) if int8 is not None and int8.samples is not None else None
        target = None
        if goal.latency_ms is not None:
            # Only a latency depends on how and where the file will be run.
            table = None if settings.cost_table is None else read_table(settings.cost_table)
            target = (settings.threads, settings.batch, table)
        return identify(
            "sweep",
            self.passes is None,
            self.constraints,
            self.multiple_of,
            settings.storage,
            None if int8 is None else (int8.count, int8.force),
            digest_file(samples) if samples is not None and samples.is_file() else None,
            program=self.program,
            passes=self.passes or (),
            goal=goal,
            task=self.task,
            seed=goal.seed,
            target=target,
            tested=True,
            kept=False,
        )
