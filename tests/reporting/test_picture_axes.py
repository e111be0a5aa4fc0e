"""The axes of a picture."""

from __future__ import annotations

from compressc.reporting.picture_axes import Axis, Tick, trace
from compressc.reporting.plots import vertical_axis


def test_values_lie_between_the_ends() -> None:
    axis = Axis(2.0, 6.0, 100.0, 200.0)
    assert [axis(value) for value in (2.0, 3.0, 6.0)] == [100.0, 125.0, 200.0]
    turned = Axis(6.0, 2.0, 100.0, 200.0)
    assert [turned(value) for value in (2.0, 3.0, 6.0)] == [200.0, 175.0, 100.0]
    assert Axis(3.0, 3.0, 0.0, 10.0)(3.0) == 5.0


def test_ticks_go_from_end_to_end() -> None:
    assert Axis(0.0, 1.0, 10.0, 30.0).ticks(3, str) == (
        Tick(10.0, "0.0"),
        Tick(20.0, "0.5"),
        Tick(30.0, "1.0"),
    )


def test_whole_ticks_are_not_written_twice() -> None:
    assert Axis(0.0, 2.0, 0.0, 20.0).ticks(5, "{:.0f}".format, whole=True) == (
        Tick(0.0, "0"),
        Tick(10.0, "1"),
        Tick(20.0, "2"),
    )


def test_a_trace_is_written_for_svg() -> None:
    line = trace(Axis(0.0, 1.0, 0.0, 10.0), Axis(0.0, 1.0, 8.0, 0.0), [(0.0, 0.0), (0.25, 1.0)])
    assert line == "0.0,8.0 2.5,0.0"


def test_ticks_stand_at_round_numbers() -> None:
    axis = Axis(0.37, 12.81, 0.0, 100.0)
    assert [tick.text for tick in axis.ticks(5, "{:g}".format)] == ["5", "10"]
    assert [tick.text for tick in axis.ticks(7, "{:g}".format)] == ["5", "10"]
    fine = Axis(0.0, 0.034, 0.0, 100.0).ticks(5, "{:g}".format)
    assert [tick.text for tick in fine] == ["0", "0.01", "0.02", "0.03"]
    falling = Axis(100.0, 40.0, 0.0, 100.0).ticks(5, "{:g}".format)
    assert [tick.text for tick in falling] == ["40", "60", "80", "100"]
    assert len(Axis(3.0, 3.0, 0.0, 10.0).ticks(5, str)) == 1


def test_what_is_never_negative_has_no_axis_below_zero() -> None:
    assert vertical_axis(0.01, 0.4).low == 0.0
    assert vertical_axis(80.0, 90.0).low == 79.5
    assert vertical_axis(-1.0, 1.0).low < -1.0
