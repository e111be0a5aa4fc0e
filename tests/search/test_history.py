"""What a search did: events, the generations among them, and the file that grows with them."""

from __future__ import annotations

import json

import pytest

from compressc.costs import Cost
from compressc.errors import HistoryError, OutputError
from compressc.search.history import Generation, History, Note, ScoredPoint, SearchHead
from compressc.search.history_file import Recorder, read_history, write_history
from compressc.search.trials import Trial

HEAD = SearchHead(
    search="ascai",
    coordinates=("ps a", "svd fc"),
    ends=((0.0, 1.0), (8.0, 1.0)),
    base_metric=99.0,
    base={"macs": 100, "params": 50, "size_bytes": 200},
    threshold=94.0,
    settings={"population": 2},
)


def trial(metric: float, macs: int) -> Trial:
    return Trial(f"d{macs}-{metric}", metric, Cost(macs, macs // 2, 2 * macs), 0.25, (0.5, 3.0))


def generation(number: int, *trials: Trial) -> Generation:
    # The points of a population need not be those that the trials were first made from.
    population = tuple(ScoredPoint((0.25, 3.0), judged, 1.5) for judged in trials)
    return Generation(number, 2 * (number + 1), population)


FIRST, SECOND = (trial(90.0, 80), trial(80.0, 50)), (trial(95.0, 80), trial(70.0, 90))
HISTORY = History(
    HEAD,
    (
        *FIRST,
        generation(0, *FIRST),
        Note("half of it refused"),
        *SECOND,
        generation(1, *SECOND),
    ),
)


def test_it_survives_a_round_trip(tmp_path):
    path = tmp_path / "history.jsonl"
    write_history(path, HISTORY)
    assert read_history(path) == HISTORY
    assert len(path.read_text().splitlines()) == 1 + len(HISTORY.events)


def test_generations_trials_and_notes_are_views_of_the_events():
    assert [g.number for g in HISTORY.generations] == [0, 1]
    assert HISTORY.trials == (*FIRST, *SECOND)
    assert HISTORY.notes == ("half of it refused",)
    assert History(HEAD).generations == ()


def test_the_front_is_over_all_generations():
    assert HISTORY.front() == ((0.5, 80.0), (0.8, 95.0))
    assert HISTORY.front("params") == ((0.5, 80.0), (0.8, 95.0))


def test_the_file_grows_with_every_event_and_only_grows(tmp_path):
    path = tmp_path / "not" / "there" / "history.jsonl"
    recorder = Recorder(HEAD, path)
    before = path.read_bytes()
    for count, event in enumerate(HISTORY.events, start=1):
        recorder.add(event)
        content = path.read_bytes()
        assert content.startswith(before)
        before = content
        assert read_history(path) == History(HEAD, HISTORY.events[:count])
    assert recorder.history == HISTORY


def test_an_event_that_was_cut_short_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    write_history(path, HISTORY)
    path.write_bytes(path.read_bytes()[:-9])
    assert read_history(path) == History(HEAD, HISTORY.events[:-1])


def test_a_recorder_begins_anew(tmp_path):
    path = tmp_path / "history.jsonl"
    write_history(path, HISTORY)
    Recorder(HEAD, path).add(Note("again"))
    assert read_history(path) == History(HEAD, (Note("again"),))


def test_a_generation_needs_its_trials_before_it(tmp_path):
    path = tmp_path / "history.jsonl"
    write_history(path, History(HEAD, (generation(0, FIRST[0]),)))
    with pytest.raises(HistoryError, match="is no history"):
        read_history(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}\n",
        "[]\n",
        '{"format": "compressc-search-2"}\n',
        '{"format": "compressc-search-1"}\n',
        "no json\n",
    ],
)
def test_something_else_is_no_history(tmp_path, text):
    path = tmp_path / "history.jsonl"
    path.write_text(text)
    with pytest.raises(HistoryError, match="is no history"):
        read_history(path)


def test_an_unknown_event_is_no_history(tmp_path):
    path = tmp_path / "history.jsonl"
    write_history(path, HISTORY)
    with path.open("a") as stream:
        stream.write(json.dumps({"event": "earthquake"}) + "\n")
    with pytest.raises(HistoryError, match="earthquake"):
        read_history(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HistoryError, match=r"gone\.jsonl: cannot be read"):
        read_history(tmp_path / "gone.jsonl")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"history\.jsonl: cannot be written"):
        Recorder(HEAD, tmp_path / "file" / "history.jsonl")
