"""Ctrl-C is one kind of end: exit code 130 and one line, wherever it strikes."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compressc.cli.interruption import Interruption, interruptible

# What happens inside `interruptible` when Ctrl-C is pressed there.
INTERRUPTED = """
import signal, sys
from compressc.cli import main as command
signal.signal(signal.SIGINT, signal.default_int_handler)
press = "import signal; signal.raise_signal(signal.SIGINT)"
def dispatch(arguments):
    {body}
command._dispatch = dispatch
sys.exit(command.main(["bench"]))
"""
BODIES = {
    # sympy, dataclasses and namedtuples run code from strings when they are imported.
    "exec of a string": "exec(press)",
    "turned into another error": (
        "\n    try:\n        exec(press)\n    except BaseException:\n"
        "        raise ImportError('initialization failed')"
    ),
    "plain code": "signal.raise_signal(signal.SIGINT)",
}


@pytest.mark.parametrize("where", BODIES)
def test_ctrl_c_is_exit_130_and_one_line(where: str, tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED.format(body=BODIES[where]))
    # With -m, as `python -m compressc`: elsewhere the interpreter keeps the exit code.
    finished = subprocess.run(
        [sys.executable, "-m", "interrupted"], capture_output=True, text=True, cwd=tmp_path
    )
    assert finished.returncode == 130
    assert finished.stderr.splitlines() == [
        "compressc: error: interrupted; no output was left half-written"
    ]


def test_other_errors_pass_and_the_handler_is_put_back() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(ValueError, match="mine"), interruptible():
            raise ValueError("mine")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(Interruption), interruptible():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_that_is_switched_off_stays_off() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_set_no_handler() -> None:
    def enter() -> None:
        with interruptible():
            pass

    with ThreadPoolExecutor(1) as executor:
        executor.submit(enter).result()
