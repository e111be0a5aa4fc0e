"""Rounds spread over sessions, with contestants that know which session they are."""

import numpy as np
import pytest

from compressc.runtime.sessions import plan_sessions, split, time_sessions
from compressc.runtime.timing import Series, join


@pytest.mark.parametrize(
    ("seconds", "open_seconds", "rounds", "expected"),
    [
        (10.0, 0.01, 100, 10),  # opening costs nothing
        (10.0, 1.5, 100, 6),
        (10.0, 60.0, 100, 4),  # the least that tells anything
        (10.0, 0.01, 3, 3),  # no session without a round
        (10.0, 0.0, 1, 1),
    ],
)
def test_how_many_sessions(seconds, open_seconds, rounds, expected):
    assert plan_sessions(seconds, open_seconds, rounds) == expected


def test_rounds_are_split_evenly():
    assert split(10, 4) == (3, 3, 2, 2)
    assert sum(split(83, 10)) == 83


@pytest.mark.parametrize("keep", [True, False])
def test_every_session_gets_its_rounds_and_its_number(keep):
    opened, ran = [], []

    def opener(name):
        def open_one():
            opened.append(name)
            number = opened.count(name)
            return lambda: ran.append((name, number))

        return open_one

    done = []
    series = time_sessions(
        [opener("a"), opener("b")],
        [lambda: ran.append(("a", 0)), lambda: ran.append(("b", 0))],
        [50.0, 50.0],
        5,
        3,
        warmup_seconds=0.0,
        keep=keep,
        on_round=done.append,
    )
    # Who is opened first takes turns.
    assert opened == ["b", "a", "a", "b"]
    assert done == [1, 2, 3, 4, 5]
    assert [times.round_session.tolist() for times in series] == [[0, 0, 1, 1, 2]] * 2
    assert {number for _, number in ran} == {0, 1, 2}
    # Without warm-up calls: two rounds in the first session, the order rotating.
    assert ran[:4] == [("a", 0), ("b", 0), ("b", 0), ("a", 0)]


def test_joined_series_keep_order_and_number_their_sessions():
    def part(*times):
        array = np.array(times)
        zeros = np.zeros(len(times), np.int64)
        return Series(array, array[:1], array[:1], array[:1], zeros[:1], zeros)

    whole = join([part(1.0, 2.0), part(3.0)])
    assert whole.latency_ms.tolist() == [1.0, 2.0, 3.0]
    assert whole.call_session.tolist() == [0, 0, 1]
    assert whole.round_session.tolist() == [0, 1]
    assert whole.round_ms.tolist() == [1.0, 3.0]
