"""A sweep's run: what all targets share, and the digest by which a finished target is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from compressc.goal import Goal
from compressc.pipeline.job import Job
from compressc.program import Program
from compressc.store.identity import identify
from compressc.sweeping.files import digest_file
from compressc.sweeping.inputs import DriftInputs


@dataclass(frozen=True, eq=False)
class Run:
    """What all targets share."""

    job: Job
    program: Program
    folder: Path
    original_onnx: onnx.ModelProto
    inputs: DriftInputs

    def key(self, goal: Goal) -> str:
        """Return a digest of everything that the row of a target depends on.

        A pass or a task that cannot be known again has another digest in every run, so that its
        targets are made anew.
        """
        job, int8 = self.job, self.job.settings.int8
        passes = job.chosen_passes
        samples = Path(int8.samples) if int8 is not None and int8.samples is not None else None
        return identify(
            "sweep",
            passes is None,
            job.constraints,
            job.multiple_of,
            job.settings.storage,
            None if int8 is None else (int8.count, int8.force),
            digest_file(samples) if samples is not None and samples.is_file() else None,
            program=self.program,
            passes=passes or (),
            goal=goal,
            task=job.task,
            seed=goal.seed,
            # Only a latency depends on how and where the file will be run.
            target=job.target if goal.latency_ms is not None else None,
            tested=True,
            kept=False,
        )
