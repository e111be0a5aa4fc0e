"""The file of a search."""

from __future__ import annotations

import pytest

from compressc.errors import HistoryError
from compressc.search.history import Candidate, Generation, History, read_history, write_history


def history() -> History:
    def one(metric: float, macs: int) -> Candidate:
        return Candidate((0.5, 3.0), f"d{macs}", metric, macs, macs // 2, 2 * macs, 1.5)

    return History(
        search="ascai",
        coordinates=("ps a", "svd fc"),
        ends=((0.0, 1.0), (8.0, 1.0)),
        base_metric=99.0,
        base={"macs": 100, "params": 50, "size_bytes": 200},
        threshold=94.0,
        settings={"population": 2},
        generations=(
            Generation(0, 2, (one(90.0, 80), one(80.0, 50))),
            Generation(1, 4, (one(95.0, 80), one(70.0, 90))),
        ),
    )


def test_it_survives_a_round_trip(tmp_path):
    path = tmp_path / "history.jsonl"
    write_history(path, history())
    assert read_history(path) == history()
    assert len(path.read_text().splitlines()) == 3


def test_the_front_is_over_all_generations():
    assert history().front() == ((0.5, 80.0), (0.8, 95.0))


@pytest.mark.parametrize("text", ["", "{}\n", '{"format": "compressc-search-1"}\n', "no json\n"])
def test_something_else_is_no_history(tmp_path, text):
    path = tmp_path / "history.jsonl"
    path.write_text(text)
    with pytest.raises(HistoryError, match="is no history"):
        read_history(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HistoryError, match=r"gone\.jsonl: cannot be read"):
        read_history(tmp_path / "gone.jsonl")
