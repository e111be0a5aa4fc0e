"""ASCAI: a search that is killed goes on to the result it would have had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.passes.ascai.genetic_search import Ascai
from compressc.search.history import read_history
from tests.search_kit import trained

ROOT = Path(__file__).parents[2]
SEARCH = Ascai(population=8, generations=12, spaces=("ps", "svd", "tucker"))

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
    assert read_history(path) == read_history(next(whole.glob("ascai-*.jsonl")))


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
    assert read_history(ours) == read_history(theirs)
    total = len(next(whole.glob("trials-*.jsonl")).read_bytes().splitlines())
    assert 45 < known < total == len(journal.read_bytes().splitlines())
