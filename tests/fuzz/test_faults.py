"""Whatever fails, outputs are the old ones or the new ones, and the same command then succeeds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.fuzz.faults import failing_at, with_small_files
from tests.fuzz.right_files import images, write_onnx
from tests.fuzz.sandbox import Outcome, Work, command, judge, run_in_child

EVERY = int(os.environ.get("COMPRESSC_FAULTS", "3"))
_QUICK = ("--no-measure", "--quiet", "--data", "data.npz")
_TRAINED = ("--epochs", "2")
COMMANDS: dict[str, tuple[str, ...]] = {
    "compress": (
        *("compress", "model.pt2", "--target-params", "0.7", "--pass", "magnitude", *_QUICK),
        *("-o", "out.onnx", "--save", "out.pt2", "--report", "out.html"),
    ),
    "finetune": (
        *("compress", "model.pt2", "--target-params", "0.7", "--pass", "magnitude"),
        *("--pass", "finetune", *_TRAINED, *_QUICK, "-o", "out.onnx"),
    ),
    "ascai": (
        *("compress", "model.pt2", "--target-params", "0.7", "--pass", "ascai"),
        *("--trials", "6", "--population", "4", *_QUICK, "-o", "out.onnx"),
    ),
    "decore": (
        *("compress", "model.pt2", "--target-params", "0.7", "--pass", "decore"),
        *(*_TRAINED, *_QUICK, "-o", "out.onnx"),
    ),
    "distill": (
        *("compress", "model.pt2", "--target-params", "0.7", "--pass", "magnitude"),
        *("--pass", "distill", *_TRAINED, *_QUICK, "-o", "out.onnx"),
    ),
    "calibrate": (
        *("compress", "model.pt2", "--target-params", "0.7", "--pass", "surgeon"),
        *("--pass", "calibrate", *_QUICK, "-o", "out.onnx"),
    ),
    "gradual": (
        *("compress", "model.pt2", "--pass", "gradual", "--sparsity", "0.5"),
        *(*_TRAINED, *_QUICK, "-o", "out.onnx"),
    ),
    "snn": (
        *("compress", "model.pt2", "--pass", "snn", "--sparsity", "0.3"),
        *(*_TRAINED, *_QUICK, "-o", "out.onnx"),
    ),
    "rl-mcts": (
        *("compress", "model.pt2", "--target-params", "0.7", "--pass", "rl-mcts", "--trials", "8"),
        *("--simulations", "4", "--segment", "1.0", "--net-epochs", "2", *_QUICK),
        *("-o", "out.onnx"),
    ),
    "sweep": (
        *("sweep", "model.pt2", "--targets", "0.8,0.6", "--target-kind", "params"),
        *("--pass", "magnitude", "--seconds", "0.2", "--quiet", "--data", "data.npz", "-o", "out"),
    ),
}

# What the system may refuse is tried on these, and kills on all that take long.
WRITERS = ("compress", "sweep", "finetune", "ascai", "decore")
LONG = tuple(name for name in COMMANDS if name not in ("compress", "sweep"))


def prepare(folder: Path) -> None:
    folder.mkdir()
    write_onnx(folder)
    labels = np.arange(64) % 4
    np.savez(folder / "data.npz", images=images(), labels=labels)
    for name in ("out.onnx", "out.pt2", "out.html"):
        (folder / name).write_bytes(b"old")


def outputs(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.glob("out.*")
        if path.is_file() and path.suffix in (".onnx", ".pt2", ".html")
    }


def check(folder: Path, outcome: Outcome, expected: tuple[str, ...]) -> None:
    """Check what a run with a fault left: all old files, or all of them new."""
    assert judge(outcome, folder) == "", outcome.err
    for path in (folder / "out").glob("*.onnx"):  # a sweep's files, as far as it came
        onnx.checker.check_model(str(path))
    if not expected:
        return
    now = outputs(folder)
    old = [name for name in expected if now[name] == b"old"]
    assert old in ([], list(expected)), outcome.err
    assert bool(old) == bool(outcome.code), outcome.err


def expected_of(name: str) -> tuple[str, ...]:
    texts = COMMANDS[name]
    return tuple(t for t in texts if t in ("out.onnx", "out.pt2", "out.html"))


def succeeds_afterwards(name: str, folder: Path) -> None:
    outcome = run_in_child(command(*COMMANDS[name]), folder)
    assert outcome.code == 0, outcome.err
    assert b"old" not in [outputs(folder)[each] for each in expected_of(name)]


def with_fault(name: str, folder: Path, wrap: Callable[[Work], Work]) -> Outcome:
    prepare(folder)
    return run_in_child(wrap(command(*COMMANDS[name])), folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_any_request_may_fail(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "count"
    clean = with_fault(name, folder, lambda work: failing_at(work, folder, 0))
    assert clean.code == 0, clean.err
    total = int((folder / "requests").read_text())
    assert total >= 3
    for number in sorted({*range(1, total + 1, max(1, total // EVERY)), total}):
        folder = tmp_path / str(number)
        outcome = with_fault(name, folder, lambda work, f=folder, n=number: failing_at(work, f, n))
        check(folder, outcome, expected_of(name))
        if number % 3 == 1:
            succeeds_afterwards(name, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compress", "finetune"])
@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_disk_may_be_full_at_any_byte(name: str, limit: int, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    prepare(folder)
    work = with_small_files(command(*COMMANDS[name]), limit)
    outcome = run_in_child(work, folder)
    # What the child says has no room either.
    assert outcome.code != 70
    now = outputs(folder)
    if expected_of(name):
        assert all(now[each] == b"old" for each in expected_of(name)) == bool(outcome.code)
    succeeds_afterwards(name, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_run_that_is_killed_comes_to_the_same_answer(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "clean"
    started = time.monotonic()
    assert with_fault(name, folder, lambda work: work).code == 0
    lasted = time.monotonic() - started
    right = outputs(folder)["out.onnx"]
    kills = max(2, EVERY // 2)
    for number in range(kills):
        folder = tmp_path / str(number)
        prepare(folder)
        moment = lasted * (number + 0.5) / kills
        killed = run_in_child(command(*COMMANDS[name]), folder, seconds=moment)
        assert killed.code in (0, -signal.SIGKILL)
        for rest in (*folder.glob(".out.onnx.*"), folder / ".out", folder / ".err"):
            rest.unlink(missing_ok=True)
        succeeds_afterwards(name, folder)
        assert outputs(folder)["out.onnx"] == right


def test_the_counter_finds_and_fails_requests(tmp_path: Path) -> None:
    def write_twice() -> int:
        for name in "ab":
            (tmp_path / name).write_text("x")
            (tmp_path / name).replace(tmp_path / f"{name}2")
        return 0

    assert run_in_child(failing_at(write_twice, tmp_path, 0), tmp_path).code == 0
    total = int((tmp_path / "requests").read_text())
    assert total >= 4
    for number in range(1, total + 1):
        outcome = run_in_child(failing_at(write_twice, tmp_path, number), tmp_path)
        assert outcome.code == 70
        assert "No space left on device" in outcome.err
