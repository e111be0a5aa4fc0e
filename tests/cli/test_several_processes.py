"""One command in several processes: one voice, one file, and no process left waiting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compressc.cli import main as main_module
from compressc.pipeline import recipe, sampling
from compressc.process_rank import process_count, process_rank
from tests.cli.conftest import TINY, Cli
from tests.cli.test_data import write_images

WORDS = (*TINY, "--target-flops", "0.5", "--multiple-of", "4", "--no-measure", "-o", "small.onnx")
TRAINING = ("--data", "images.npz", "--pass", "magnitude", "--pass", "finetune", "--epochs", "2")

# Data that only the first of the processes can read.
ONLY_THE_FIRST = """
import os
import numpy as np
from compressc.datasets.opening import open_task


def build():
    if os.environ["RANK"] == "1":
        raise OSError("no such share on this machine")
    return open_task("images.npz")
"""


@pytest.mark.parametrize(
    ("environment", "rank", "count"),
    [
        ({}, 0, 1),
        ({"RANK": "1", "WORLD_SIZE": "2"}, 1, 2),
        ({"RANK": "1", "WORLD_SIZE": "1"}, 0, 1),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, 3, 4),
        ({"RANK": "", "WORLD_SIZE": "many"}, 0, 1),
    ],
)
def test_the_environment_tells_which_process_this_is(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], rank: int, count: int
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (process_rank(), process_count()) == (rank, count)


@pytest.fixture
def _second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(main_module, "_HEAD_START_SECONDS", 0.0)
    # There is no first process here that would send what it made.
    monkeypatch.setattr(sampling, "make_on_main", lambda make: make())


@pytest.mark.usefixtures("_second")
def test_a_second_process_runs_the_passes_and_nothing_else(
    workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = []
    real = recipe.run_recipe

    def follow(*arguments: object, **named: object) -> object:
        followed.append(real(*arguments, **named))  # type: ignore[arg-type]
        return followed[-1]

    monkeypatch.setattr(recipe, "run_recipe", follow)
    assert cli(*WORDS) == (0, "", "")
    assert len(followed) == 1
    assert not list(workplace.glob("small*"))
    assert cli("passes") == (0, "", "")


@pytest.mark.usefixtures("_second")
def test_a_second_process_says_which_one_it_is_when_it_fails(workplace: Path, cli: Cli) -> None:
    code, out, err = cli(*WORDS, "--data", "nowhere")
    assert (code, out) == (11, "")
    assert err.startswith("compressc: error: process 1: nowhere: there is no such folder")
    code, _, err = cli("demo")
    assert code == 1
    assert "one process" in err


def test_an_incomplete_launch_is_said_in_a_line(
    workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import PartialState

    monkeypatch.setattr(PartialState, "_shared_state", {})
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setattr(main_module, "_HEAD_START_SECONDS", 0.0)
    code, _, err = cli(*WORDS)
    assert code == 1
    assert "MASTER_ADDR" in err
    assert not list(workplace.glob("small*"))


def launch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # On CPUs `accelerate launch` starts several processes through MPI only; this is torchrun.
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, "--nproc-per-node=2", "-m", "compressc", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**environment, "PYTHONPATH": str(folder)},
    )


@pytest.mark.slow
def test_two_processes_train_and_one_writes(workplace: Path) -> None:
    write_images(workplace)
    finished = launch(workplace, *WORDS, *TRAINING, "--report", "report.json")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("wrote small.onnx") == 1
    assert finished.stderr.count("loading tiny.pt") == 1
    assert finished.stdout.count("in 2 processes") == 1
    assert {path.name for path in workplace.glob("small.onnx*")} == {"small.onnx"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*TRAINING, "--max-drop", "0", "--seed", "nan"), "--seed"),
        (("--data", "share:build", *TRAINING[2:]), "process 1: share:build() failed: OSError"),
    ],
)
def test_an_error_ends_all_processes(workplace: Path, words: tuple[str, ...], said: str) -> None:
    write_images(workplace)
    (workplace / "share.py").write_text(ONLY_THE_FIRST)
    finished = launch(workplace, *WORDS, *words)
    assert finished.returncode != 0
    told = [line for line in finished.stderr.splitlines() if "compressc: error" in line]
    assert told
    assert all(said in line for line in told)
    assert not (workplace / "small.onnx").exists()
