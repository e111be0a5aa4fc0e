"""A sweep's run: what all targets share, and the digest by which a finished target is known."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from compressc.contract.declaration import Pass
from compressc.fingerprints import fingerprint, fingerprint_task
from compressc.goal import Goal
from compressc.pipeline.job import Job
from compressc.pipeline.pass_runs import settings_of
from compressc.program import Program
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
        """Return a digest of everything that the file of a target depends on."""
        job, int8 = self.job, self.job.settings.int8
        passes = job.chosen_passes
        samples = Path(int8.samples) if int8 is not None and int8.samples is not None else None
        return fingerprint(
            version("compressc"),
            self.program,
            None if passes is None else [_describe(entry) for entry in passes],
            fingerprint_task(job.task, goal.seed),
            job.constraints,
            job.multiple_of,
            goal,
            job.settings.storage,
            None if int8 is None else (int8.count, int8.force),
            digest_file(samples) if samples is not None and samples.is_file() else None,
            # Only a latency depends on how and where the file will be run.
            job.target.identity if goal.latency_ms is not None else None,
        )


def _describe(entry: Pass) -> tuple[str, str, list[tuple[str, Any]]]:
    return type(entry).__module__, type(entry).__qualname__, sorted(settings_of(entry).items())
