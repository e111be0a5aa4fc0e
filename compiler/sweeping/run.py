"""A sweep's run: what all targets share, and the digest by which a finished target is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from compressc.fingerprints import fingerprint, fingerprint_task
from compressc.goal import Goal
from compressc.pass_protocol import Pass
from compressc.pipeline.pass_runs import settings_of
from compressc.program import Constraints, Program
from compressc.settings import Settings
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
        """Return a digest of everything that the file of a target depends on."""
        int8 = self.settings.int8
        samples = Path(int8.samples) if int8 is not None and int8.samples is not None else None
        return fingerprint(
            version("compressc"),
            self.program,
            None if self.passes is None else [_describe(one) for one in self.passes],
            fingerprint_task(self.task, goal.seed),
            self.constraints,
            self.multiple_of,
            goal,
            self.settings.storage,
            None if int8 is None else (int8.count, int8.force),
            digest_file(samples) if samples is not None and samples.is_file() else None,
            # Only a latency depends on how and where the file will be run.
            (self.settings.threads, self.settings.batch, self.settings.cost_table)
            if goal.latency_ms is not None
            else None,
        )


def _describe(one: Pass) -> tuple[str, str, list[tuple[str, Any]]]:
    return type(one).__module__, type(one).__qualname__, sorted(settings_of(one).items())
