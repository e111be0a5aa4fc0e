"""A child process in which a command meets a hostile file: bounded, watched, and judged."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compressc.cli.main import main

SECONDS = 60.0
MEMORY_BYTES = 4 * 2**30
# What hostile files try to leave behind when their code runs.
MARKER = "MARKER"
_DEFECT = 70
_REFUSALS = frozenset(range(2, 21)) | frozenset(range(30, 36)) | {71, 74}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

Work = Callable[[], int]


@dataclass(frozen=True)
class Outcome:
    """What became of a child.

    Attributes:
        code: exit code, negative for a signal.
        out, err: what it wrote.
        seconds: of the clock.
        memory_bytes: the most that it held.
    """

    code: int
    out: str
    err: str
    seconds: float
    memory_bytes: int


def command(*arguments: str) -> Work:
    """Return the work of a command line."""
    return lambda: main(list(arguments))


def run_in_child(work: Work, folder: Path, seconds: float = SECONDS) -> Outcome:
    """Do some work in a forked child whose current folder is given; kill it when time is over."""
    out, err = folder / ".out", folder / ".err"
    started = time.monotonic()
    child = os.fork()
    if not child:
        _become(work, folder, out, err)
    code, usage = _await(child, started + seconds)
    texts = [path.read_text(encoding="utf-8", errors="surrogateescape") for path in (out, err)]
    out.unlink()
    err.unlink()
    spent = time.monotonic() - started
    return Outcome(code, texts[0], texts[1], spent, usage.ru_maxrss * 1024)


def _become(work: Work, folder: Path, out: Path, err: Path) -> None:
    code = _DEFECT
    try:
        faulthandler.disable()  # what it says would stand in the log of the tests
        os.chdir(folder)
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES,) * 2)
        code = work()
    except BaseException:  # noqa: BLE001 - a child must end here, whatever happened
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _await(child: int, deadline: float) -> tuple[int, resource.struct_rusage]:
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return os.waitstatus_to_exitcode(status), usage
        time.sleep(0.002)


def judge(outcome: Outcome, folder: Path) -> str:
    """Return what is wrong with an outcome; empty where it is a result, or a clear refusal."""
    if outcome.code and outcome.code not in _REFUSALS:
        return f"exit code {outcome.code}"
    if outcome.seconds > SECONDS:
        return f"{outcome.seconds:.0f} seconds"
    if outcome.memory_bytes > MEMORY_BYTES:
        return f"{outcome.memory_bytes / 2**30:.1f} GB"
    lines = [line for line in outcome.err.splitlines() if line.startswith("compressc: error:")]
    if len(lines) != bool(outcome.code):
        return f"{len(lines)} lines of error for exit code {outcome.code}"
    for name, text in (("stdout", outcome.out), ("stderr", outcome.err)):
        if _CONTROL.search(text):
            return f"control characters on {name}"
    if (folder / MARKER).exists():
        return "code of the file ran"
    left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    if left:
        return f"left behind: {left}"
    return ""
