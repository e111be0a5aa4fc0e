"""Ctrl-C is one kind of end: exit code 130 and one line, wherever it strikes."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from compressc.cli.interruption import Interruption, interruptible
from compressc.models.registry import weights_path

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


def read_until(terminal: int, text: str) -> None:
    """Read what a terminal shows until a text stands there; fails where it ends before."""
    shown = b""
    while text.encode() not in shown:
        part = os.read(terminal, 4096)
        assert part, shown[-2000:].decode(errors="replace")
        shown += part


@pytest.mark.slow
def test_a_second_key_in_training_keeps_the_best_epoch_and_writes_the_file(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:600] * 255 / 16).round().astype(np.uint8)
    np.savez(tmp_path / "digits.npz", images=images, labels=digits.target[:600])
    shutil.copy(weights_path("digits_resnet"), tmp_path / "model.pt")
    words = "model.pt --target-flops 0.5 --data digits.npz --pass magnitude --pass finetune"
    words += " --epochs 500 --no-measure --report small.json -o small.onnx"
    terminal, slave = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "compressc", *words.split()],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env={**os.environ, "COLUMNS": "150", "TERM": "xterm"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(slave)
    read_until(terminal, "epoch 3 of 500")
    run.send_signal(signal.SIGINT)
    read_until(terminal, "Ctrl-C again within")
    run.send_signal(signal.SIGINT)
    with ThreadPoolExecutor(1) as reader:
        reader.submit(read_to_the_end, terminal)
        assert run.wait(timeout=120) == 0
    notes = json.loads((tmp_path / "small.json").read_text())["passes"][-1]["notes"]
    assert "ended by Ctrl-C, pressed twice" in notes
    assert (tmp_path / "small.onnx").exists()


def read_to_the_end(terminal: int) -> None:
    """Let a process write on; a terminal whose other side is closed gives an error on Linux."""
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        pass
