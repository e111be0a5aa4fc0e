"""ASCAI: a search that is killed goes on to the result it would have had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.search.history_file import read_history
from compressc.search.trials import Trial
from tests.search_kit import make_ascai, trained

ROOT = Path(__file__).parents[2]
SEARCH = make_ascai(population=8, generations=12, spaces=("ps", "svd", "tucker"))

PROGRAM = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.passes.test_ascai_resume import SEARCH, search
search(Path(sys.argv[1]))
"""


def search(folder: Path):
    program, task = trained()
    return SEARCH(program, Context(Goal(seed=5), task=task, work_dir=folder))


def assert_same_history(ours: Path, theirs: Path) -> None:
    """Check that two searches did the same in the same order; seconds differ."""
    first, second = (
        replace(
            history,
            events=tuple(
                replace(event, seconds=0.0) if isinstance(event, Trial) else event
                for event in history.events
            ),
        )
        for history in (read_history(ours), read_history(theirs))
    )
    assert first.head == second.head
    assert first.trials == second.trials
    assert first.notes == second.notes
    assert len(first.generations) == len(second.generations) > 1
    for one, other in zip(first.generations, second.generations, strict=True):
        assert (one.number, one.trials) == (other.number, other.trials)
        assert [(s.point, s.trial.digest, s.score) for s in one.population] == [
            (s.point, s.trial.digest, s.score) for s in other.population
        ]


class StopSearchError(Exception):
    """What the test stops a search with."""


def test_an_interrupted_search_ends_as_if_nothing_had_happened(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    wanted = search(whole)
    program, task = trained()

    def stop(done: int, _total: int, text: str) -> None:
        if text.startswith("generation 3"):
            raise StopSearchError

    with pytest.raises(StopSearchError):
        SEARCH(program, Context(Goal(seed=5), task=task, work_dir=broken, progress=stop))
    (path,) = broken.glob("ascai-*.jsonl")
    assert len(read_history(path).generations) == 4
    found = search(broken)
    assert found.plan == wanted.plan
    assert found.history[-1].notes == wanted.history[-1].notes
    assert_same_history(path, next(whole.glob("ascai-*.jsonl")))


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    wanted = search(whole)
    command = [sys.executable, "-c", PROGRAM.format(root=str(ROOT)), str(broken)]
    child = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and child.poll() is None:
            journals = list(broken.glob("trials-*.jsonl"))
            if journals and len(journals[0].read_bytes().splitlines()) > 45:
                break
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL
    (journal,) = broken.glob("trials-*.jsonl")
    known = len(journal.read_bytes().splitlines())
    found = search(broken)
    assert found.plan == wanted.plan
    assert found.history[-1].notes == wanted.history[-1].notes
    (ours,), (theirs,) = broken.glob("ascai-*.jsonl"), whole.glob("ascai-*.jsonl")
    assert ours.name == theirs.name
    assert_same_history(ours, theirs)
    total = len(next(whole.glob("trials-*.jsonl")).read_bytes().splitlines())
    assert 45 < known < total == len(journal.read_bytes().splitlines())
