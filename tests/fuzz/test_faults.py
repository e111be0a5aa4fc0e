"""Whatever fails, outputs are the old ones or the new ones, and the same command then succeeds.

``COMPRESSC_FAULTS=1000 pytest -m slow tests/fuzz/test_faults.py`` tries every request, and
``benchmarks/faults.py`` tries many and keeps the figures.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.fuzz.fault_runs import (
    COMMANDS,
    LONG,
    MOST_BYTES,
    WRITERS,
    count_requests,
    end_memory,
    expected_of,
    kill,
    outputs,
    prepare,
    refuse_request,
    succeeds_afterwards,
    with_fault,
)
from tests.fuzz.faults import failing_at, with_small_files
from tests.fuzz.sandbox import command, run_in_child

EVERY = int(os.environ.get("COMPRESSC_FAULTS", "3"))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_any_request_may_fail(name: str, tmp_path: Path) -> None:
    total = count_requests(name, tmp_path / "count")
    assert total >= 3
    for number in sorted({*range(1, total + 1, max(1, total // EVERY)), total}):
        refuse_request(name, tmp_path / str(number), number)
        if number % 3 == 1:
            succeeds_afterwards(name, tmp_path / str(number))


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
@pytest.mark.parametrize("name", WRITERS if EVERY > 3 else WRITERS[:1])
def test_memory_may_end_at_any_point(name: str, tmp_path: Path) -> None:
    assert with_fault(name, tmp_path / "clean", lambda work: work).code == 0
    for number in range(EVERY):
        end_memory(name, tmp_path / str(number), int(MOST_BYTES * (number + 0.5) / EVERY))
        if number % 3 == 1:
            succeeds_afterwards(name, tmp_path / str(number))


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_run_that_is_killed_comes_to_the_same_answer(name: str, tmp_path: Path) -> None:
    started = time.monotonic()
    assert with_fault(name, tmp_path / "clean", lambda work: work).code == 0
    lasted = time.monotonic() - started
    right = outputs(tmp_path / "clean")["out.onnx"]
    kills = max(2, EVERY // 2)
    for number in range(kills):
        assert kill(name, tmp_path / str(number), lasted * (number + 0.5) / kills) == right


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
