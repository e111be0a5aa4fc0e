"""Order, statistics and warm-up, with a clock that the test turns itself."""

import numpy as np
import pytest

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.quietness import Quietness, Snapshot, judge
from compressc.runtime.ratios import (
    bootstrap_quantile,
    bootstrap_ratio,
    stretch,
    student_quantile,
)
from compressc.runtime.timing import (
    Clock,
    burst_calls,
    plan_rounds,
    rotate,
    time_rounds,
    warm_up,
)


class Bench:
    """Contestants that take scripted milliseconds on a clock of their own."""

    def __init__(self):
        self.now = 0
        self.calls = []

    def contestant(self, name, ms):
        times = iter(ms) if isinstance(ms, list) else iter(lambda: ms, None)

        def run():
            self.calls.append(name)
            self.now += int(next(times) * 1e6)

        return run

    @property
    def clock(self):
        return Clock(wall=lambda: self.now, cpu=lambda: self.now // 2)


def test_rounds_interleave_and_rotate():
    bench = Bench()
    runs = [bench.contestant(name, 30) for name in "abc"]
    done = []
    series = time_rounds(runs, [30, 30, 30], 4, bench.clock, done.append)
    assert "".join(bench.calls) == "abcbcacababc"
    assert done == [1, 2, 3, 4]
    assert all(times.latency_ms.shape == times.round_ms.shape == (4,) for times in series)


def test_two_contestants_take_turns_at_going_first():
    assert [rotate(2, number) for number in range(3)] == [(0, 1), (1, 0), (0, 1)]


def test_short_calls_repeat_within_a_round_and_the_settling_call_is_left_out():
    bench = Bench()
    quick = bench.contestant("q", [100.0, *[4.0] * 5] * 3)
    slow = bench.contestant("s", 50.0)
    q, s = time_rounds([quick, slow], [4.0, 50.0], 3, bench.clock)
    assert bench.calls[:7] == ["q"] * 6 + ["s"]
    assert q.latency_ms.tolist() == [4.0] * 15
    assert q.round_ms.tolist() == [4.0] * 3
    assert s.latency_ms.tolist() == [50.0] * 3
    assert q.cpu_ms.tolist() == [2.0] * 3
    assert s.cpu_ms.tolist() == [25.0] * 3


def test_warm_up_ends_when_the_time_stands_still():
    bench = Bench()
    falling = [100.0, 80.0, 60.0, 40.0, 30.0, 20.0, 15.0, 10.0, 10.0, 10.0]
    result = warm_up(bench.contestant("a", falling + [10.0] * 50), 60, bench.clock)
    assert result.steady
    assert result.call_ms == pytest.approx(10.0)
    assert 10 < result.calls < 20


def test_warm_up_gives_up_and_says_so():
    bench = Bench()
    result = warm_up(bench.contestant("a", [100.0 * 0.9**i for i in range(500)]), 0.9, bench.clock)
    assert not result.steady
    bench = Bench()
    assert warm_up(bench.contestant("a", 5000.0), 1, bench.clock).calls == 2


def test_round_planning():
    assert burst_calls(50.0) == 1
    assert burst_calls(4.0) == 5
    # One round: 5 + 1 settling calls of 4 ms, one of 76 ms.
    assert plan_rounds([4.0, 76.0], 10, 10, 1000) == 100
    assert plan_rounds([4000.0, 4000.0], 10, 10, 1000) == 10
    assert plan_rounds([0.01], 1e6, 10, 1000) == 1000


def synthetic(rng, ratio, rounds=60, sessions=8, placement=0.01):
    """Times of two files on a machine that drifts, with outliers and 3 % noise of each file.

    Every session of a file is faster or slower than the others as its memory lies.
    """
    drift = 1 + 0.3 * np.sin(np.arange(rounds) / 9)
    noise = rng.lognormal(0, 0.03, (2, rounds))
    outliers = np.where(rng.random((2, rounds)) < 0.05, 3.0, 1.0)
    session = np.arange(rounds) * sessions // rounds
    placed = rng.lognormal(0, placement, (2, sessions))[:, session]
    first, other = 10 * drift * noise * outliers * placed
    return first, ratio * other, session


def test_identical_files_are_not_told_apart():
    rng = np.random.default_rng(0)
    ratios = [bootstrap_ratio(*synthetic(rng, 1.0), seed=i) for i in range(200)]
    assert sum(ratio.is_distinct for ratio in ratios) <= 6


def test_drawing_rounds_instead_of_sessions_is_what_tells_identical_files_apart():
    """The planted fault: the interval of one long session leaves the placement out."""
    rng = np.random.default_rng(0)
    rounds = [synthetic(rng, 1.0, rounds=400, sessions=2, placement=0.02) for _ in range(50)]
    fooled = [bootstrap_ratio(first, other, seed=1) for first, other, _ in rounds]
    assert sum(ratio.is_distinct for ratio in fooled) > 20


@pytest.mark.parametrize("planted", [0.9, 1.1])
def test_a_planted_difference_of_a_tenth_is_found(planted):
    rng = np.random.default_rng(1)
    ratios = [bootstrap_ratio(*synthetic(rng, planted, placement=0.003), seed=i) for i in range(30)]
    assert sum(ratio.is_distinct for ratio in ratios) >= 29
    assert all(abs(ratio.value / planted - 1) < 0.05 for ratio in ratios)
    assert all(ratio.low <= ratio.value <= ratio.high for ratio in ratios)
    assert ratios[0].speedup == pytest.approx(1 / planted, rel=0.05)


def test_pairing_by_rounds_is_what_finds_a_small_difference():
    """Shuffling one file's rounds keeps its times but loses the pairs: the interval widens."""
    rng = np.random.default_rng(2)
    first, other, session = synthetic(rng, 0.9, placement=0.001)
    paired = bootstrap_ratio(first, other, session)
    loose = bootstrap_ratio(first, rng.permutation(other), session)
    assert paired.is_distinct
    assert loose.high - loose.low > 2 * (paired.high - paired.low)


def test_ratio_of_one_round_and_of_unequal_rounds():
    ratio = bootstrap_ratio(np.array([10.0]), np.array([5.0]))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    with pytest.raises(RuntimeFailure, match="2 and 3 rounds"):
        bootstrap_ratio(np.ones(2), np.ones(3))


@pytest.mark.parametrize(
    ("freedom", "probability", "expected"),
    [
        (1, 0.975, 12.706),
        (2, 0.995, 9.925),
        (3, 0.995, 5.841),
        (7, 0.995, 3.499),
        (9, 0.975, 2.262),
    ],
)
def test_student_quantiles_are_those_of_the_tables(freedom, probability, expected):
    assert student_quantile(probability, freedom) == pytest.approx(expected, rel=0.01)


def test_few_sessions_stretch_the_interval():
    assert stretch(4, 0.99) > stretch(8, 0.99) > stretch(100, 0.99) > 1
    assert stretch(1000, 0.99) == pytest.approx(1, abs=0.01)


def test_the_interval_of_a_quantile_holds_the_truth_about_sessions():
    rng = np.random.default_rng(3)
    held = 0
    for seed in range(60):
        session = np.repeat(np.arange(8), 50)
        times = 10 * rng.lognormal(0, 0.02, 8)[session] * rng.lognormal(0, 0.01, session.size)
        low, high = bootstrap_quantile(times, session, 0.5, seed)
        assert low <= np.median(times) <= high
        held += low <= 10.0 <= high
    assert held >= 57


def test_one_session_says_nothing_of_others():
    times = np.array([1.0, 2.0, 3.0])
    assert bootstrap_quantile(times, np.zeros(3, np.int64), 0.5) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("quietness", "word"),
    [
        (Quietness(0.99, 0.1, 3.0, 2), ""),
        (Quietness(0.7, 0.1, 0.0, 2), "70%"),
        (Quietness(0.99, 1.2, 0.0, 2), "1.2 cores"),
        (Quietness(None, 1.2, 0.0, 64), ""),
        (Quietness(None, None, 1.5, 2), "load average was 1.5"),
        (Quietness(None, None, None, 2), ""),
    ],
)
def test_quietness_says_what_disturbed_and_what_to_trust(quietness, word):
    assert quietness.is_quiet == (word == "")
    assert word in quietness.note
    assert quietness.is_quiet or "Trust the ratios" in quietness.note


def test_the_work_of_others_is_all_work_minus_ours():
    before = Snapshot(wall=100.0, own_cpu=5.0, all_cpu=50.0, load=0.5)
    after = Snapshot(wall=110.0, own_cpu=14.0, all_cpu=65.0, load=1.0)
    quietness = judge(before, after, cpu_share=0.9)
    assert quietness.other_cores == pytest.approx(0.6)
    assert quietness.load_before == 0.5
    assert not quietness.is_quiet
