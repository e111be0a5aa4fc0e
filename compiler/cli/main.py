"""The ``compressc`` command: picks the subcommand, turns every error into one line."""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import io
import os
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from compressc.cli.interruption import interruptible
from compressc.cli.memory import memory_ended
from compressc.cli.streams import abandon_stdout, prepare_streams
from compressc.errors import CompresscError
from compressc.process_rank import process_count, process_rank
from compressc.runtime.plain_text import printable

# Each is a module of compressc.cli with a function run(arguments) -> exit code. They are imported
# when chosen, so that `compressc bench` runs where torch is missing and --help answers at once.
COMMANDS = {
    "compress": "make a model smaller and faster (the default: `compress` may be left out)",
    "search": "search a network that is sparse from the start, from data alone",
    "sweep": "make a front of ONNX files over several targets, and its picture",
    "run": "repeat a run from the recipe file that it wrote beside its output",
    "bench": "time ONNX files against each other",
    "profile": "show where an ONNX file spends its time, layer by layer",
    "expand": "write out the packed weights of a compact ONNX file, for other runtimes",
    "verify": "compare an ONNX file with stored inputs and outputs",
    "inspect": "show which channels are coupled, what is pinned and why, MACs per layer",
    "architectures": "list the architectures that --arch takes by name",
    "passes": "list the passes and their options",
    "demo": "compress a trained digit classifier from start to finish",
}

DEFECT_EXIT_CODE = 70
INTERRUPTED_EXIT_CODE = 130
OUT_OF_MEMORY_EXIT_CODE = 71
SYSTEM_EXIT_CODE = 74

# How long other processes wait for the first one to say what went wrong.
_HEAD_START_SECONDS = 5.0

_OUT_OF_MEMORY = "out of memory; give a smaller --input-shape or --batch, or use a bigger machine"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        prepare_streams()
        with warnings.catch_warnings():
            if not sys.warnoptions:  # python -W shows them
                warnings.simplefilter("ignore")
            with interruptible(), _silence_unless_first():
                return _dispatch(arguments)
    except KeyboardInterrupt:
        return _fail(_interrupted(arguments), INTERRUPTED_EXIT_CODE)
    except BrokenPipeError:
        abandon_stdout()  # the reader (head, less) has seen enough
        return 0
    except OSError as error:
        if memory_ended(error):
            return _fail(_OUT_OF_MEMORY, OUT_OF_MEMORY_EXIT_CODE)
        if error.errno == errno.ENOSPC and error.filename is None:
            abandon_stdout()
        name = f"{error.filename}: " if error.filename else ""
        return _fail(f"{name}{error.strerror or error}; nothing half-written", SYSTEM_EXIT_CODE)
    except Exception as error:  # noqa: BLE001 - the last stop before the user
        return _fail_with(error)


def _interrupted(arguments: Sequence[str]) -> str:
    """Say what became of the work: runs that keep a state go on."""
    said = "interrupted; no output was left half-written"
    command = arguments[0] if arguments and arguments[0] in COMMANDS else "compress"
    goes_on = command in ("compress", "sweep", "search", "run")
    return f"{said}; the same command goes on from here" if goes_on else said


def _fail_with(error: Exception) -> int:
    # Whoever caught it may have taken it for something else, such as a package that is missing.
    if memory_ended(error):
        return _fail(_OUT_OF_MEMORY, OUT_OF_MEMORY_EXIT_CODE)
    exit_code = getattr(error, "exit_code", None)
    if isinstance(error, CompresscError) or isinstance(exit_code, int):
        return _fail(str(error), exit_code if isinstance(exit_code, int) else 1)
    return _fail(
        f"{type(error).__name__}: {error}; this is a defect in compressc: run again with "
        "COMPRESSC_TRACEBACK=1 and report what it prints",
        DEFECT_EXIT_CODE,
    )


def _silence_unless_first() -> AbstractContextManager[object]:
    """Return a context in which only the first of several processes prints."""
    if not process_rank():
        return contextlib.nullcontext()
    return contextlib.redirect_stdout(io.StringIO())


def _fail(message: str, exit_code: int) -> int:
    rank = process_rank()
    if rank:
        # Mostly all processes fail alike. Then the first one tells, and the launcher ends the rest.
        time.sleep(_HEAD_START_SECONDS)
        message = f"process {rank}: {message}"
    if os.environ.get("COMPRESSC_TRACEBACK"):
        traceback.print_exc()
    line = printable(" ".join(message.split()))
    print(f"compressc: error: {line}", file=sys.stderr)
    return exit_code


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        from compressc.cli.compress import help_text

        print(help_text(COMMANDS))
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"compressc {version('compressc')}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        _refuse_misspelt(name)
        arguments = ["compress", *arguments]
    if process_count() > 1 and arguments[0] in ("demo", "search", "sweep"):
        raise CompresscError(f"{arguments[0]} runs in one process; start it without a launcher")
    if process_rank() and arguments[0] not in ("compress", "run"):
        return 0
    command = importlib.import_module(f"compressc.cli.{arguments[0]}")
    exit_code: int = command.run(arguments[1:])
    sys.stdout.flush()
    return exit_code


def _refuse_misspelt(word: str) -> None:
    if word.startswith("-") or "." in word or Path(word).exists():
        return
    close = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean `compressc {close[0]}`?" if close else "see compressc --help"
    raise CompresscError(f"{word}: no such file or command; {hint}")
