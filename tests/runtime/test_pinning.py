"""Which cores a measurement takes, and that it gives them back."""

import os

import pytest

from compressc.runtime.pinning import busy_shares, choose_cores, pick, pinned

ALONE = {core: str(core) for core in range(4)}
PAIRS = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}


def test_the_quietest_cores_are_taken():
    assert pick([0, 1, 2, 3], {0: 5.0, 1: 0.0, 2: 9.0, 3: 1.0}, ALONE, 2) == (1, 3)
    assert pick([0, 1, 2, 3], {}, ALONE, 1) == (0,)


def test_one_hardware_thread_of_each_core_before_the_second():
    busy = {0: 0.0, 1: 5.0, 2: 0.0, 3: 5.0}
    assert pick([0, 1, 2, 3], busy, PAIRS, 2) == (0, 1)
    assert pick([0, 1, 2, 3], busy, PAIRS, 3) == (0, 1, 2)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot pin")
def test_cores_are_given_back_after_an_error(monkeypatch):
    monkeypatch.setattr("compressc.runtime.pinning.busy_shares", lambda cores: {})
    before = os.sched_getaffinity(0)
    seen = []

    def measure():
        with pinned(1) as cores:
            seen.extend([cores, os.sched_getaffinity(0)])
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        measure()
    assert len(seen[0]) == 1
    assert seen[1] == set(seen[0])
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot pin")
def test_busy_cores_are_not_pinned_to(monkeypatch):
    monkeypatch.setattr(
        "compressc.runtime.pinning.busy_shares", lambda cores: dict.fromkeys(cores, 0.9)
    )
    assert choose_cores(1) is None
    assert all(share >= 0 for share in busy_shares([0]).values())


def test_more_threads_than_cores_are_left_alone():
    assert choose_cores(10_000) is None
    with pinned(10_000) as cores:
        assert cores is None


def test_a_system_that_cannot_pin(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    with pinned(1) as cores:
        assert cores is None
