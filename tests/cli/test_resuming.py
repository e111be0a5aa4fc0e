"""kill -9, the same command again, the same result; in real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from compressc.pipeline import pass_runs
from tests.cli.conftest import TINY, Cli
from tests.cli.test_data import write_images

# What takes less than a second is not kept; here everything is.
PATIENT = """
import sys
from compressc.pipeline import pass_runs
from compressc.cli.main import main
pass_runs._WORTH_SAVING_SECONDS = -1.0
sys.exit(main(sys.argv[1:]))
"""


def command(output: str, *passes: str) -> list[str]:
    common = ("--data", "images.npz", "--target-flops", "0.5", "--multiple-of", "4", "--no-measure")
    return [sys.executable, "-c", PATIENT, *TINY, *common, *passes, "-o", output]


def kill_when(folder: Path, pattern: str, words: list[str]) -> None:
    """Start a command and kill it as soon as a file shows up."""
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(6000):
        if process.poll() is not None or list(folder.glob(pattern)):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err.decode()


def weights(path: Path) -> dict[str, bytes]:
    return {tensor.name: tensor.raw_data for tensor in onnx.load(path).graph.initializer}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("passes", "state"),
    [
        (("--pass", "surgeon", "--pass", "calibrate"), "small.onnx.state/*/result-*.state"),
        (("--pass", "magnitude", "--pass", "finetune"), "small.onnx.state/*/finetune-*.state"),
    ],
)
def test_killed_and_started_again_it_comes_to_the_same(
    workplace: Path, passes: tuple[str, ...], state: str
) -> None:
    write_images(workplace)
    kill_when(workplace, state, command("small.onnx", *passes))
    assert not (workplace / "small.onnx").exists()
    assert list(workplace.glob(state))
    for words in (
        [*command("small.onnx", *passes), "--report", "report.json"],
        command("undisturbed.onnx", *passes),
    ):
        finished = subprocess.run(words, cwd=workplace, capture_output=True, text=True, timeout=120)
        assert finished.returncode == 0, finished.stderr
    assert weights(workplace / "small.onnx") == weights(workplace / "undisturbed.onnx")
    notes = json.loads((workplace / "report.json").read_text())["notes"]
    assert any("was done by an earlier run" in note for note in notes)
    assert not list(workplace.glob("*.state"))


def test_a_work_dir_that_was_asked_for_is_kept(
    workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_runs, "_WORTH_SAVING_SECONDS", -1.0)
    words = (*TINY, "--target-flops", "0.5", "--multiple-of", "4", "--no-measure")
    assert cli(*words, "-o", "small.onnx", "--work-dir", "work")[0] == 0
    # What surgeon and calibrate came to on synthetic inputs.
    assert len(list(workplace.glob("work/*/result-*.state"))) == 2
    assert cli(*words, "-o", "small.onnx")[0] == 0
    assert not (workplace / "small.onnx.state").exists()


def test_a_full_disk_while_keeping_state_is_one_line(workplace: Path) -> None:
    write_images(workplace)
    words = command("small.onnx", "--pass", "surgeon", "--pass", "calibrate")
    # The shell lets no file grow beyond 1 KB (two blocks of 512 bytes).
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", *words]
    finished = subprocess.run(limited, cwd=workplace, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 7
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("compressc: error: small.onnx.state/")
    assert "File too large" in last
    assert "Traceback" not in finished.stderr
    assert not (workplace / "small.onnx").exists()
    assert not list(workplace.glob("small.onnx.state/*/.*"))
