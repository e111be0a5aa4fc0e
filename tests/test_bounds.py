"""Bounds: distances are shares of the original's cost, worked out by hand here."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from compressc.bounds import Bounds
from compressc.costs import Cost
from compressc.goal import Bound, Goal

ORIGINAL = Cost(macs=1000, params=200, size_bytes=800)
HALF = Bounds(Goal(macs=0.5, params=160).bounds, ORIGINAL)


def test_ratios_are_ratios_of_the_original_and_amounts_stay() -> None:
    assert HALF.amounts == {"macs": 500.0, "params": 160.0}
    assert HALF.allowed("macs") == 500.0
    with pytest.raises(KeyError):
        HALF.allowed("size_bytes")


@pytest.mark.parametrize(
    ("macs", "params", "slack", "tightest"),
    [
        (400, 100, 0.1, "macs"),
        (400, 150, 0.05, "params"),
        (700, 150, -0.2, "macs"),
        (100, 200, -0.2, "params"),
        (500, 100, 0.0, "macs"),
    ],
)
def test_the_tightest_bound_decides(macs: int, params: int, slack: float, tightest: str) -> None:
    cost = Cost(macs, params, size_bytes=10**9)
    assert HALF.slack(cost) == pytest.approx(slack, abs=1e-12)
    assert HALF.tightest(cost) == tightest
    assert HALF.hold(cost) == (slack >= 0)
    assert HALF.share("params", cost) == params / 200


def test_many_networks_at_once_have_the_slack_that_each_has_alone() -> None:
    rows = [Cost(400, 100, 0), Cost(400, 150, 0), Cost(700, 150, 0)]
    amounts = {
        "macs": np.array([float(cost.macs) for cost in rows]),
        "params": np.array([float(cost.params) for cost in rows]),
    }
    assert HALF.slacks(amounts).tolist() == [HALF.slack(cost) for cost in rows]


def test_no_bounds_hold_for_everything() -> None:
    free = Bounds({}, ORIGINAL)
    assert not free
    assert HALF
    assert free.hold(Cost(10**12, 10**12, 10**12))
    assert free.slack(ORIGINAL) == inf


def test_bounds_in_amounts_do_not_shrink_with_the_model() -> None:
    amounts = HALF.in_amounts()
    assert amounts.limits == {"macs": Bound(500.0, False), "params": Bound(160.0, False)}
    assert Bounds(amounts.limits, Cost(600, 150, 0)).allowed("macs") == 500.0
    assert HALF.tightened(0.1).amounts == {"macs": 450.0, "params": 144.0}
    # The distances stay shares of the same original.
    assert HALF.tightened(0.1).slack(Cost(400, 100, 0)) == pytest.approx(0.05)


def test_a_model_without_a_cost_divides_by_nothing() -> None:
    nothing = Bounds(Goal(params=0.5).bounds, Cost(10, 0, 0))
    assert nothing.slack(Cost(10, 0, 0)) == 0.0
    assert nothing.hold(Cost(10, 0, 0))


def test_out_of_reach_names_the_tightest_bound_and_the_way_out() -> None:
    error = HALF.out_of_reach(
        Cost(macs=600, params=198, size_bytes=1),
        "pruning",
        "what stays: 0.6 in fc",
        ("keep fewer layers (--keep)", "prune more"),
    )
    # Parameters miss their bound by 0.19 of the original, MACs by 0.1.
    assert str(error) == (
        "params target 160 cannot be reached: pruning goes only down to 0.99 of the parameters "
        "(198); what stays: 0.6 in fc; raise the target to about 198, or keep fewer layers "
        "(--keep), or prune more"
    )


def test_the_target_it_names_is_enough() -> None:
    bounds = Bounds(Goal(macs=0.1).bounds, Cost(3000, 0, 0))
    text = str(bounds.out_of_reach(Cost(1000, 0, 0), "searching"))
    assert text == (
        "macs target 0.1 cannot be reached: searching goes only down to 0.333 of the MACs (1000); "
        "raise the target to about 0.334"
    )
    assert Bounds(Goal(macs=0.334).bounds, Cost(3000, 0, 0)).hold(Cost(1000, 0, 0))


def test_raising_the_target_is_no_advice_where_nothing_shrinks() -> None:
    text = str(HALF.out_of_reach(ORIGINAL, "pruning"))
    assert text.endswith("nothing of this model can be made smaller that way")
    assert "raise the target" not in text
