"""Training that was cut off goes on, and ends where it would have ended."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compressc.contract.context import Context
from compressc.errors import OutputError
from compressc.passes.finetune import Finetune
from compressc.program import Program
from tests.passes.training_child import KILLED
from tests.passes.training_kit import (
    assert_same_weights,
    epochs_done,
    make_context,
    make_program,
    make_task,
    quick,
)

CHILD = Path(__file__).with_name("training_child.py")


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CHILD), "killed", str(tmp_path)]
    subprocess.run(command, check=True, env=environment, timeout=300)
    epochs = [int(word) for word in (tmp_path / "epochs").read_text().split()]
    assert len(epochs) == 5
    assert epochs == sorted(epochs)
    assert 0 < epochs[0] < epochs[3] < epochs[4] == KILLED["epochs"]
    undisturbed = quick(**KILLED)(make_program(), make_context())
    killed = torch.load(tmp_path / "killed.pt", weights_only=True)
    assert list(killed) == list(undisturbed.state())
    for name, tensor in undisturbed.state().items():
        assert torch.equal(killed[name], tensor), name


class InterruptionError(Exception):
    """What a test stops training with."""


def cut_off(one: Finetune, program: Program, context: Context, done: int) -> None:
    """Stop at the first sign of life after ``done`` steps."""

    def stop(now: int, _total: int, _text: str) -> None:
        if now > done:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        one(program, replace(context, progress=stop))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": "adamw", "learning_rate": 0.01, "ema": 0.9},
        {"schedule": "cosine", "patience": 3, "clip_norm": 1.0},
    ],
    ids=str,
)
def test_a_run_that_was_cut_off_goes_on(fields, tmp_path):
    one, program = quick(**{"epochs": 4, **fields}), make_program()
    whole = one(program, make_context())
    cut_off(one, program, make_context(tmp_path), done=16)
    (file,) = tmp_path.iterdir()
    assert epochs_done(file) == 2
    seen: list[int] = []
    context = make_context(tmp_path, progress=lambda done, *_: seen.append(done))
    resumed = one(program, context)
    assert seen[0] > 16
    assert_same_weights(resumed, whole)
    seen.clear()
    assert_same_weights(one(program, context), whole)
    assert not seen  # nothing was left to do


def test_a_run_ends_alike_with_and_without_a_folder(tmp_path):
    program = make_program()
    kept = quick()(program, make_context(tmp_path / "new" / "folder"))
    assert_same_weights(kept, quick()(program, make_context()))


def test_another_run_never_goes_on_from_this_one(tmp_path):
    program, context = make_program(), make_context(tmp_path)
    quick(epochs=1)(program, context)
    others = [
        (quick(epochs=2), program, context),
        (quick(epochs=1, learning_rate=0.2), program, context),
        (quick(epochs=1), make_program(seed=1), context),
        (quick(epochs=1), program, make_context(tmp_path, seed=1)),
        (quick(epochs=1), program, replace(context, task=make_task(seed=1))),
        (quick(epochs=1), program, replace(context, task=make_task(train=300))),
    ]
    for count, (one, other, where) in enumerate(others, start=2):
        expected = one(other, replace(where, work_dir=None))
        assert_same_weights(one(other, where), expected)
        assert len(list(tmp_path.iterdir())) == count


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def take_that_of_another_run(path: Path) -> None:
    other = path.with_name("other")
    quick(epochs=3)(make_program(seed=1), make_context(other))
    (theirs,) = other.iterdir()
    theirs.replace(path)
    other.rmdir()


@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, take_that_of_another_run])
def test_a_damaged_state_is_not_trusted(damage, tmp_path):
    method, program = quick(epochs=3), make_program()
    cut_off(method, program, make_context(tmp_path), done=8)
    (file,) = tmp_path.iterdir()
    damage(file)
    seen: list[int] = []
    again = method(program, make_context(tmp_path, progress=lambda done, *_: seen.append(done)))
    assert seen[0] <= 8
    assert_same_weights(again, method(program, make_context()))
    assert "not a usable state of finetune, which began anew" in again.history[-1].notes[1]
    seen.clear()
    # What was damaged has been replaced.
    method(program, make_context(tmp_path, progress=lambda done, *_: seen.append(done)))
    assert not seen


def test_a_full_disk_keeps_the_state_before_it(tmp_path):
    one, program = quick(epochs=3), make_program()
    cut_off(one, program, make_context(tmp_path), done=8)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot be written.*free some space") as caught:
            one(program, make_context(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before
    assert_same_weights(one(program, make_context(tmp_path)), one(program, make_context()))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/work: state .* cannot be kept.*--work-dir"):
        quick(epochs=1)(make_program(), make_context(tmp_path / "file" / "work"))
