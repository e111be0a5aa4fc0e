"""Running one pass: its clock, its progress, its line in the report, its result on disk."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, replace
from typing import Any

from compressc.clock import Clock
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.contract.enforcement import check_changes, check_needs
from compressc.pipeline.saved_pass import SavedPass
from compressc.process_rank import process_count, process_rank
from compressc.program import HistoryLine, Program

# What took less is sooner done again than read.
_WORTH_SAVING_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class PassRun:
    """What running a pass gave.

    Attributes:
        program: what it made of the program.
        step: its settings, seconds and remarks.
        notes: what else the user should know.
    """

    program: Program
    step: HistoryLine
    notes: tuple[str, ...] = ()


def run_pass(program: Program, one: Pass, context: Context, clock: Clock) -> PassRun:
    """Run a pass, or take its result from an earlier run that was cut off behind it.

    Raises:
        OutputError: if its result cannot be written to the work directory.
    """
    if context.work_dir is None:
        return PassRun(*_run(program, one, context, clock))
    if process_count() > 1 and one.declares.runs_on == "lowered":
        # All processes must begin such a pass together; it finds its own state again.
        folder = SavedPass(context.work_dir, program, one, settings_of(one), context).folder
        return PassRun(*_run(program, one, replace(context, work_dir=folder), clock))
    saved = SavedPass(context.work_dir, program, one, settings_of(one), context)
    notes: tuple[str, ...] = ()
    if saved.exists:
        with clock.stage(f"reading what {one.name} found in an earlier run"):
            found = saved.load()
        if found is not None:
            seconds = f"{found[1].seconds:.0f} s"
            return PassRun(*found, (f"{one.name} was done by an earlier run (in {seconds})",))
        notes = (f"{saved.folder}: not a usable result of {one.name}, so it ran anew",)
    result, step = _run(program, one, replace(context, work_dir=saved.folder), clock)
    if step.seconds > _WORTH_SAVING_SECONDS and not process_rank():
        with clock.stage(f"keeping what {one.name} found"):
            saved.save(result, step)
    return PassRun(result, step, notes)


def _run(
    program: Program, one: Pass, context: Context, clock: Clock
) -> tuple[Program, HistoryLine]:
    name = f"running {one.name}"
    with clock.stage(name):
        check_needs(one, program, context)
        started = time.perf_counter()
        result = one(program, replace(context, progress=clock.within(name)))
        seconds = round(time.perf_counter() - started, 3)
    check_changes(one, program, result)
    added = result.history[len(program.history) :]
    remarks = tuple(note for step in added for note in step.notes)
    numbers = {name: number for step in added for name, number in step.numbers.items()}
    return result, HistoryLine(one.name, settings_of(one), seconds, remarks, numbers)


def settings_of(one: Pass) -> dict[str, Any]:
    """Return the hyper-parameters of a pass by name."""
    if not dataclasses.is_dataclass(one):
        return {}
    return {item.name: getattr(one, item.name) for item in dataclasses.fields(one)}
