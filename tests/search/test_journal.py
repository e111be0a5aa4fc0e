"""Trials on disk."""

from __future__ import annotations

import pytest

from compressc.costs import Cost
from compressc.errors import OutputError
from compressc.search.journal import Journal
from compressc.search.trials import Trial, pareto_front

TRIALS = [Trial(f"d{i}", 90.0 + i / 3, Cost(10 * i, i, 4 * i), 0.5, (i / 7, 2.0)) for i in range(4)]


def test_trials_come_back_exactly(tmp_path):
    path = tmp_path / "trials.jsonl"
    for trial in TRIALS:
        Journal(path).add(trial)
    assert Journal(path).read() == {trial.digest: trial for trial in TRIALS}


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_torn_line_is_dropped_and_written_over(tmp_path, cut):
    path = tmp_path / "trials.jsonl"
    for trial in TRIALS:
        Journal(path).add(trial)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert list(Journal(path).read()) == ["d0", "d1", "d2"]
    Journal(path).add(TRIALS[3])
    assert path.read_bytes() == content


def test_something_else_is_no_journal(tmp_path):
    path = tmp_path / "trials.jsonl"
    path.write_text('{"digest": "a"}\n')
    with pytest.raises(OutputError, match="no journal of trials"):
        Journal(path).read()


def test_the_folder_is_made(tmp_path):
    path = tmp_path / "a" / "b" / "trials.jsonl"
    assert Journal(path).read() == {}
    Journal(path).add(TRIALS[0])
    assert Journal(path).read() == {"d0": TRIALS[0]}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"trials\.jsonl: cannot be written"):
        Journal(tmp_path / "file" / "trials.jsonl").add(TRIALS[0])


def test_nowhere_is_fine():
    journal = Journal(None)
    journal.add(TRIALS[0])
    assert journal.read() == {}


def test_the_front_holds_what_nothing_beats():
    points = [(0.5, 90.0), (0.4, 90.0), (0.9, 95.0), (0.6, 89.0), (0.3, 50.0), (0.95, 95.0)]
    assert pareto_front(points) == ((0.3, 50.0), (0.4, 90.0), (0.9, 95.0))
    assert pareto_front([]) == ()
