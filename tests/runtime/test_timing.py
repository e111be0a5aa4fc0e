"""Order, statistics and warm-up, with a clock that the test turns itself."""

import numpy as np
import pytest

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.quietness import Quietness, Snapshot, judge
from compressc.runtime.ratios import bootstrap_ratio
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


def synthetic(rng, ratio, rounds=60):
    """Times of two files on a machine that drifts, with outliers and 3 % noise of each file."""
    drift = 1 + 0.3 * np.sin(np.arange(rounds) / 9)
    noise = rng.lognormal(0, 0.03, (2, rounds))
    outliers = np.where(rng.random((2, rounds)) < 0.05, 3.0, 1.0)
    first, other = 10 * drift * noise * outliers
    return first, ratio * other


def test_identical_files_are_not_told_apart():
    rng = np.random.default_rng(0)
    ratios = [bootstrap_ratio(*synthetic(rng, 1.0), seed=i, layout_spread=0) for i in range(100)]
    assert sum(ratio.is_distinct for ratio in ratios) <= 5


@pytest.mark.parametrize("planted", [0.9, 1.1])
def test_a_planted_difference_of_a_tenth_is_found(planted):
    rng = np.random.default_rng(1)
    ratios = [bootstrap_ratio(*synthetic(rng, planted), seed=i) for i in range(30)]
    assert all(ratio.is_distinct for ratio in ratios)
    assert all(abs(ratio.value / planted - 1) < 0.03 for ratio in ratios)
    assert all(ratio.low <= ratio.value <= ratio.high for ratio in ratios)
    assert ratios[0].speedup == pytest.approx(1 / planted, rel=0.03)


def test_pairing_by_rounds_is_what_finds_a_small_difference():
    """Shuffling one file's rounds keeps its times but loses the pairs: the interval widens."""
    rng = np.random.default_rng(2)
    first, other = synthetic(rng, 0.97)
    paired = bootstrap_ratio(first, other, layout_spread=0)
    loose = bootstrap_ratio(first, rng.permutation(other), layout_spread=0)
    assert paired.is_distinct
    assert loose.high - loose.low > 2 * (paired.high - paired.low)


def test_ratio_of_one_round_and_of_unequal_rounds():
    ratio = bootstrap_ratio(np.array([10.0]), np.array([5.0]))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5 / 1.01, 0.5 * 1.01))
    with pytest.raises(RuntimeFailure, match="2 and 3 rounds"):
        bootstrap_ratio(np.ones(2), np.ones(3))


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
