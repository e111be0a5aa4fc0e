"""Goals as users write them."""

from __future__ import annotations

import math

import pytest

from compressc.errors import GoalError
from compressc.goal import Bound, Goal, LatencyBound, parse_bound, parse_latency


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, Bound(0.5, True)),
        (0.001, Bound(0.001, True)),
        (2, Bound(2.0, False)),
        (2e9, Bound(2e9, False)),
        (Bound(1.5, True), Bound(1.5, True)),
    ],
)
def test_bounds(value: float | Bound | None, expected: Bound | None) -> None:
    assert parse_bound("macs", value) == expected


@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, math.inf, -math.inf])
def test_a_target_must_be_positive_and_finite(value: float) -> None:
    with pytest.raises(GoalError, match=r"macs target .*: must be above 0; give a ratio"):
        Goal(macs=value)


@pytest.mark.parametrize("value", [1, 1.0, 1.5, 1.999])
def test_a_target_between_ratio_and_amount_is_refused(value: float) -> None:
    with pytest.raises(GoalError, match="a ratio must be below 1"):
        Goal(params=value)


def test_a_goal_lists_what_it_bounds() -> None:
    goal = Goal(macs=0.5, size_bytes=1000)
    assert goal.bounds == {"macs": Bound(0.5, True), "size_bytes": Bound(1000.0, False)}
    assert goal.bounds["macs"].absolute(300.0) == 150.0
    assert goal.bounds["size_bytes"].absolute(300.0) == 1000.0
    assert Goal().bounds == {}


@pytest.mark.parametrize("drop", [-0.1, math.nan])
def test_a_drop_below_zero_is_refused(drop: float) -> None:
    with pytest.raises(GoalError, match="max_drop"):
        Goal(max_drop=drop)


@pytest.mark.parametrize("budget", [{"trials": 0}, {"seconds": -1.0}, {"seconds": math.nan}])
def test_a_budget_of_nothing_is_refused(budget: dict[str, float]) -> None:
    with pytest.raises(GoalError, match=next(iter(budget))):
        Goal(**budget)


def test_goals_of_equal_bounds_are_equal() -> None:
    assert Goal(macs=0.5) == Goal(macs=Bound(0.5, True))
    assert Goal(max_drop=0.0).max_drop == 0.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, LatencyBound(0.5, True)),
        ("0.5", LatencyBound(0.5, True)),
        ("50%", LatencyBound(0.5, True)),
        (5, LatencyBound(5.0, False)),
        ("5ms", LatencyBound(5.0, False)),
        ("0.8 ms", LatencyBound(0.8, False)),
        ("800us@P99", LatencyBound(0.8, False, "p99")),
        ("5ms@p90", LatencyBound(5.0, False, "p90")),
        ("0.5@p90", LatencyBound(0.5, True, "p90")),
        (Bound(0.3, False), LatencyBound(0.3, False)),
    ],
)
def test_latencies(value: float | str | Bound | None, expected: LatencyBound | None) -> None:
    assert parse_latency(value) == expected
    goal = Goal(latency_ms=value)
    assert goal.latency_ms == expected
    assert goal.bounds == {}


@pytest.mark.parametrize(
    "value", [0, -1, math.nan, "fast", "5ms@p42", "0ms", "150%", "5GB", 1.5, "5s"]
)
def test_latencies_that_make_no_sense(value: float | str) -> None:
    with pytest.raises(GoalError, match="latency target") as caught:
        Goal(latency_ms=value)
    assert "\n" not in str(caught.value)
