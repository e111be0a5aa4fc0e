"""Running one pass: its clock, its progress, its line in the report, its result on disk."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from compressc.clock import Clock
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.contract.enforcement import check_changes, check_needs
from compressc.error_text import name_error
from compressc.errors import CompresscError, NoIdentityError, PassError
from compressc.pass_fields import read_settings
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


def run_pass(program: Program, method: Pass, context: Context, clock: Clock) -> PassRun:
    """Run a pass, or take its result from an earlier run that was cut off behind it.

    Raises:
        OutputError: if its result cannot be written to the work directory.
    """
    if context.work_dir is None:
        return PassRun(*_run(program, method, context, clock))
    try:
        saved = SavedPass(context.work_dir, program, method, read_settings(method), context)
    except NoIdentityError as error:
        unkept = replace(context, work_dir=None)
        return PassRun(*_run(program, method, unkept, clock), _not_kept(method, str(error)))
    inside = replace(context, work_dir=saved.folder)
    if process_count() > 1 and method.declares.runs_on == "lowered":
        # All processes must begin such a pass together; it finds its own state again.
        return PassRun(*_run(program, method, inside, clock))
    notes: tuple[str, ...] = ()
    if saved.exists:
        with clock.stage(f"reading what {method.name} found in an earlier run"):
            earlier = saved.load()
        if earlier is not None:
            result, step = earlier
            said = f"{method.name} was done by an earlier run (in {step.seconds:.0f} s)"
            return PassRun(result, step, (said,))
        notes = (f"{saved.folder}: not a usable result of {method.name}, so it ran anew",)
    result, step = _run(program, method, inside, clock)
    if step.seconds > _WORTH_SAVING_SECONDS and not process_rank():
        with clock.stage(f"keeping what {method.name} found"):
            reason = saved.save(result, step)
        if reason:
            notes = (*notes, *_not_kept(method, reason))
    return PassRun(result, step, notes)


def _call(method: Pass, program: Program, context: Context) -> Program:
    """Call a pass; what goes wrong in another package's is told as that package's error.

    Raises:
        PassError: if a pass that is not ours raises anything but a CompresscError.
    """
    package = type(method).__module__
    if package.startswith("compressc."):
        return method(program, context)
    try:
        return method(program, context)
    except (CompresscError, MemoryError):
        raise
    except Exception as error:
        raise PassError(
            f"pass '{method.name}' of {package} failed ({name_error(error)}); that is an error of "
            "its own: COMPRESSC_TRACEBACK=1 shows where"
        ) from error


def _not_kept(method: Pass, reason: str) -> tuple[str, ...]:
    return (f"{method.name} would run anew if this run were cut off: {reason}",)


def _run(
    program: Program, method: Pass, context: Context, clock: Clock
) -> tuple[Program, HistoryLine]:
    name = f"running {method.name}"
    with clock.stage(name):
        check_needs(method, program, context)
        started = time.perf_counter()
        result = _call(method, program, replace(context, progress=clock.within(name)))
        seconds = round(time.perf_counter() - started, 3)
    check_changes(method, program, result)
    added = result.history[len(program.history) :]
    remarks = tuple(note for step in added for note in step.notes)
    numbers = {name: number for step in added for name, number in step.numbers.items()}
    return result, HistoryLine(method.name, read_settings(method), seconds, remarks, numbers)
