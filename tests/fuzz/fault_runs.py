"""Runs with a fault: commands, what lies before them, and what may lie behind them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from tests.fuzz.faults import failing_at, with_little_memory
from tests.fuzz.right_files import images, write_onnx
from tests.fuzz.sandbox import Outcome, Work, command, judge, run_in_child

_BARE = ("--no-measure", "--quiet")
_QUICK = (*_BARE, "--data", "data.npz")
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
    "search": (
        *("search", "--space", "enas-macro", "--data", "large.npz", "--sparsity", "0.5"),
        *("--layers", "3", "--channels", "4", "--epochs", "2", "--children", "2"),
        *("--controller-steps", "2", "--trials", "4", "--final-epochs", "2"),
        *(*_BARE, "-o", "out.onnx"),
    ),
    "sweep": (
        *("sweep", "model.pt2", "--targets", "0.8,0.6", "--target-kind", "params"),
        *("--pass", "magnitude", "--seconds", "0.2", "--quiet", "--data", "data.npz", "-o", "out"),
    ),
}

# What the system may refuse is tried on these, and kills on all that take long.
WRITERS = ("compress", "sweep", "finetune", "ascai", "decore")
LONG = tuple(name for name in COMMANDS if name not in ("compress", "sweep"))

# Of address space, beyond what the process has before it begins; runs ask for about as much.
MOST_BYTES = 600_000_000


def prepare(folder: Path) -> None:
    folder.mkdir()
    write_onnx(folder)
    labels = np.arange(64) % 4
    np.savez(folder / "data.npz", images=images(), labels=labels)
    # Searches for architectures halve pictures, and rank by no fewer than 20 of them.
    large = images(400).repeat(2, axis=-1).repeat(2, axis=-2)
    np.savez(folder / "large.npz", images=large, labels=np.arange(400) % 4)
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


def count_requests(name: str, folder: Path) -> int:
    """Return how often a run asks the file system for something."""
    clean = with_fault(name, folder, lambda work: failing_at(work, folder, 0))
    assert clean.code == 0, clean.err
    return int((folder / "requests").read_text())


def refuse_request(name: str, folder: Path, number: int) -> None:
    """Let the n-th request of a run fail, and check what is left."""
    outcome = with_fault(name, folder, lambda work: failing_at(work, folder, number))
    check(folder, outcome, expected_of(name))


def end_memory(name: str, folder: Path, limit: int) -> None:
    """Give a run so many bytes of memory, and check what is left."""
    outcome = with_fault(name, folder, lambda work: with_little_memory(work, limit))
    check(folder, outcome, expected_of(name))


def kill(name: str, folder: Path, seconds: float) -> bytes:
    """Kill a run, let it go on, and return what it comes to."""
    prepare(folder)
    killed = run_in_child(command(*COMMANDS[name]), folder, seconds=seconds)
    assert killed.code in (0, -signal.SIGKILL)
    for rest in (*folder.glob(".out.onnx.*"), folder / ".out", folder / ".err"):
        rest.unlink(missing_ok=True)
    succeeds_afterwards(name, folder)
    return outputs(folder)["out.onnx"]
