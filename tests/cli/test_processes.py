"""The command as a real process: start-up time, light imports, Ctrl-C, a closed pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import TINY

COMMAND = (sys.executable, "-m", "compressc")


def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, **settings
    )  # type: ignore[call-overload,no-any-return]


def test_help_answers_at_once() -> None:
    took = []
    for _ in range(3):
        started = time.perf_counter()
        finished = run("--help")
        took.append(time.perf_counter() - started)
        assert finished.returncode == 0
    assert min(took) < 1.5


@pytest.mark.parametrize("arguments", ["['--help']", "['--version']", "['bnech']"])
def test_help_and_refusals_import_nothing_heavy(arguments: str) -> None:
    code = (
        "import sys; from compressc.cli.main import main; "
        f"main({arguments}); "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'rich'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_bench_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from compressc.cli.main import main; "
        "sys.exit(main(['bench', 'missing.onnx']))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert finished.returncode == 17
    assert finished.stderr.splitlines()[-1].startswith("compressc: error: missing.onnx")


def test_an_error_is_one_line_and_an_exit_code(workplace: Path) -> None:
    finished = run(*TINY, "--target-flops", "1.5", "-o", "small.onnx")
    assert finished.returncode == 4
    assert finished.stdout == ""
    assert len(finished.stderr.strip().splitlines()) == 1


def test_ctrl_c_ends_with_one_line_and_no_file(workplace: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, *TINY, "--target-flops", "0.5", "-o", "small.onnx"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background has Ctrl-C switched off, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "starting" in first
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "compressc: error: interrupted" in err
    assert "Traceback" not in err
    assert not [path for path in workplace.iterdir() if "small" in path.name]


def test_a_reader_that_goes_away_is_no_error(workplace: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    finished = subprocess.run(
        [*COMMAND, "passes"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert "Traceback" not in finished.stderr
    assert "Exception ignored" not in finished.stderr
    assert finished.returncode == 0
