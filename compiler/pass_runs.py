"""Running one pass: its clock, its progress, its line in the report."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import replace
from typing import Any

from compressc.pass_protocol import Context, Pass
from compressc.program import Program, Step
from compressc.stages import Stages


def run_pass(program: Program, one: Pass, context: Context, stages: Stages) -> tuple[Program, Step]:
    """Run a pass.

    Returns:
        What the pass made of the program, and a step with its settings, seconds and remarks.
    """
    name = f"running {one.name}"
    with stages.stage(name):
        started = time.perf_counter()
        result = one(program, replace(context, progress=stages.within(name)))
        seconds = round(time.perf_counter() - started, 3)
    added = result.history[len(program.history) :]
    remarks = tuple(note for step in added for note in step.notes)
    return result, Step(one.name, settings_of(one), seconds, remarks)


def settings_of(one: Pass) -> dict[str, Any]:
    """Return the hyper-parameters of a pass by name."""
    if not dataclasses.is_dataclass(one):
        return {}
    return {item.name: getattr(one, item.name) for item in dataclasses.fields(one)}
