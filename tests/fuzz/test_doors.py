"""Hostile files at every door: a right result or one clear line, in bounded time and memory.

``COMPRESSC_FUZZ=1000 pytest -m slow tests/fuzz`` tries as many files per door, and
``benchmarks/hostile_files.py`` tries many and keeps the figures.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.fuzz.doors import DOORS
from tests.fuzz.entering import enter
from tests.fuzz.mutations import mutate
from tests.fuzz.right_files import NAME
from tests.fuzz.sandbox import judge, run_in_child

FILES = int(os.environ.get("COMPRESSC_FUZZ", "8"))
FIRST = int(os.environ.get("COMPRESSC_FUZZ_SEED", "0"))


@pytest.mark.parametrize("name", DOORS)
def test_a_file_that_is_right_comes_in(name: str, tmp_path: Path) -> None:
    door = DOORS[name]
    folder = tmp_path / "right"
    folder.mkdir()
    door.beside(folder)
    path = folder / f"{NAME}{door.suffix}"
    path.write_bytes(door.make())
    outcome = run_in_child(door.enter(path), folder)
    assert judge(outcome, folder) == ""
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("name", DOORS)
def test_hostile_files_end_in_one_line(name: str, tmp_path: Path) -> None:
    door = DOORS[name]
    right = door.make()
    wrong = {}
    for number in range(FIRST, FIRST + FILES):
        entry = enter(
            door, mutate(right, random.Random(f"{name} {number}")), tmp_path / str(number)
        )
        if entry.wrong:
            wrong[number] = entry.wrong
    assert not wrong


def test_the_oracle_notices_what_is_wrong(tmp_path: Path) -> None:
    def crash() -> int:
        raise ValueError("a defect")

    def write_marker() -> int:
        Path("MARKER").write_text("")
        return 0

    def leave_half() -> int:
        Path(".out.onnx.123").write_text("")
        return 0

    faults = {
        crash: "exit code 70",
        lambda: os.abort() or 0: "exit code -6",
        write_marker: "code of the file ran",
        leave_half: "left behind",
        lambda: os.write(1, b"\x1b[31mred") and 0: "control characters on stdout",
        lambda: 10: "0 lines of error for exit code 10",
        lambda: len(bytearray(6 * 2**30)) and 0: "exit code 70",
    }
    for place, (work, said) in enumerate(faults.items()):
        folder = tmp_path / str(place)
        folder.mkdir()
        assert said in judge(run_in_child(work, folder), folder)


def test_what_does_not_end_is_killed(tmp_path: Path) -> None:
    def never_end() -> int:
        while True:
            pass

    outcome = run_in_child(never_end, tmp_path, seconds=0.3)
    assert judge(outcome, tmp_path) == "exit code -9"
