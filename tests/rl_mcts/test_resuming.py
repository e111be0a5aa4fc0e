"""RL-MCTS: a search that is killed goes on to the result it would have had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.passes.rl_mcts.channel_pruning import RlMcts
from compressc.search.history_file import read_history
from compressc.search.trials import Trial
from tests.rl_mcts.search_settings import change, make_search
from tests.search_kit import trained

ROOT = Path(__file__).parents[2]
SEARCH = make_search(ends_per_game=1, iterations=3, segment=0.2)
PROGRESSIVE = change(SEARCH, epochs_per_segment=1, judge="as-cut", iterations=1)
GOAL = Goal(macs=0.5, trials=60, seed=5)

PROGRAM = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.rl_mcts.test_resuming import SEARCH, search
search(SEARCH, Path(sys.argv[1]))
"""


class StopSearchError(Exception):
    """What a test stops a search with."""


def search(method: RlMcts, folder: Path, stop_at: int | None = None):
    """Run a search; stop it when progress was told so many times."""
    program, task = trained()
    seen = 0

    def progress(_done: int, _total: int, text: str) -> None:
        nonlocal seen
        seen += text.startswith("segment")
        if seen == stop_at:
            raise StopSearchError

    return method(program, Context(GOAL, task=task, work_dir=folder, progress=progress))


def told(folder: Path):
    (path,) = folder.glob("rl-mcts-*.jsonl")
    history = read_history(path)
    return [
        replace(event, seconds=0.0) if isinstance(event, Trial) else event
        for event in history.events
    ]


def assert_same(ours, theirs, folders: tuple[Path, Path]) -> None:
    assert ours.plan == theirs.plan
    assert ours.history[-1].notes == theirs.history[-1].notes
    for name, tensor in ours.state().items():
        assert torch.equal(tensor, theirs.state()[name])
    assert told(folders[0]) == told(folders[1])
    journals = [
        sorted(line for path in folder.glob("trials-*.jsonl") for line in path.open())
        for folder in folders
    ]
    assert len(journals[0]) == len(journals[1])


@pytest.mark.parametrize("stop_at", [2, 9, 15])
def test_an_interrupted_search_ends_as_if_nothing_had_happened(stop_at, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    wanted_result = search(SEARCH, whole)
    with pytest.raises(StopSearchError):
        search(SEARCH, broken, stop_at)
    before = len(told(broken))
    again = search(SEARCH, broken)
    assert before < len(told(broken))
    assert_same(again, wanted_result, (broken, whole))


def test_a_search_that_trains_between_segments_goes_on_too(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    wanted_result = search(PROGRESSIVE, whole)
    with pytest.raises(StopSearchError):
        search(PROGRESSIVE, broken, 5)
    assert {event.segment for event in told(broken) if hasattr(event, "segment")} >= {1}
    assert_same(search(PROGRESSIVE, broken), wanted_result, (broken, whole))


@pytest.mark.slow
def test_a_damaged_state_is_as_good_as_none(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    wanted_result = search(SEARCH, whole)
    with pytest.raises(StopSearchError):
        search(SEARCH, broken, 9)
    (state,) = broken.glob("rl-mcts-*.state")
    state.write_bytes(state.read_bytes()[:-5])
    assert_same(search(SEARCH, broken), wanted_result, (broken, whole))


def test_another_setting_does_not_go_on_from_it(tmp_path):
    search(SEARCH, tmp_path)
    search(change(SEARCH, exploration=2.0), tmp_path)
    assert len(list(tmp_path.glob("rl-mcts-*.state"))) == 2
    search(change(SEARCH, history=str(tmp_path / "page.html")), tmp_path)
    assert len(list(tmp_path.glob("rl-mcts-*.state"))) == 2
    page = (tmp_path / "page.html").read_text()
    assert "Pruned share per layer" in page


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    wanted_result = search(SEARCH, whole)
    command = [sys.executable, "-c", PROGRAM.format(root=str(ROOT)), str(broken)]
    child = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and child.poll() is None:
            journals = list(broken.glob("trials-*.jsonl"))
            if journals and len(journals[0].read_bytes().splitlines()) > 25:
                break
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL
    (state,) = broken.glob("rl-mcts-*.state")
    assert state.stat().st_size > 1000
    assert_same(search(SEARCH, broken), wanted_result, (broken, whole))


def test_a_search_that_was_over_says_the_same_again(tmp_path):
    first = search(SEARCH, tmp_path)
    again = search(SEARCH, tmp_path)
    assert_same(first, again, (tmp_path, tmp_path))
