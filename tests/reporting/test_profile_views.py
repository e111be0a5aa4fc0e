"""A profile as a table and as a page, from numbers that are known."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from compressc.reporting.profile_page import render_profile
from compressc.reporting.profile_table import print_profile
from compressc.runtime.machine import describe_machine
from compressc.runtime.profile_result import LayerTime, Profile
from compressc.runtime.roofline import Roofline
from tests.reporting.conftest import BUSY
from tests.reporting.svg_kit import Svg, height, hints, svgs, texts

ROOFLINE = Roofline(1, 200.0, ((131072, 100.0), (8388608, 50.0)), 0.002, 0.0002, 0.005)


def layer(name: str, ms: float, macs: int, bound: str) -> LayerTime:
    return LayerTime(
        layer=name,
        kernel=f"{name}_nchwc",
        op="Conv+Relu" if macs else "MaxPool",
        blocked=True,
        latency_ms=ms,
        share=ms / 4,
        macs=macs,
        moved_bytes=100_000,
        output_shape=(1, 16, 8, 8),
        gflops=2e-6 * macs / ms if macs else None,
        bound=bound,
        attainable_ms=ms / 2,
    )


def circle(mark: Svg) -> list[float]:
    """Return the vertical coordinates of a circle that is drawn as a path."""
    return [float(y) for _, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", mark.get("d", ""))]


def extent(mark: Svg) -> float:
    ys = circle(mark)
    return max(ys) - min(ys)


def middle(mark: Svg) -> float:
    ys = circle(mark)
    return (max(ys) + min(ys)) / 2


@pytest.fixture
def result() -> Profile:
    return Profile(
        path="a <b>.onnx",
        threads=1,
        batch=1,
        input_shapes={"x": (1, 3, 8, 8)},
        latency_p50_ms=4.3,
        cpu_ms=4.2,
        kernels_ms=4.0,
        overhead_ms=0.2,
        profiler_ms=0.1,
        runs=50,
        layers=(
            layer("stem/Conv", 1.0, 50_000_000, "compute"),
            layer("pool", 1.0, 0, "memory"),
            layer("body/Conv", 2.0, 100_000_000, "compute"),
        ),
        uncounted=(),
        roofline=ROOFLINE,
        quietness=BUSY,
        machine=describe_machine(),
        taken_at="2026-11-21T00:00:00+00:00",
        notes=(BUSY.note,),
    )


def test_the_table_shows_the_costliest_first(
    result: Profile, capsys: pytest.CaptureFixture[str]
) -> None:
    print_profile(result)
    out = capsys.readouterr().out
    assert out.index("body/Conv") < out.index("stem/Conv")
    for text in ("50.0%", "100", "memory", "4.00 ms + runtime 0.2 ms", "150 M MACs", "busy"):
        assert text in out
    assert "Conv+Relu 75%, MaxPool 25%; 25% of the time is in memory-bound layers" in out


def test_many_layers_are_cut_off_unless_all_are_wanted(
    result: Profile, capsys: pytest.CaptureFixture[str]
) -> None:
    many = replace(
        result, layers=tuple(replace(result.layers[0], layer=f"l{i}") for i in range(40))
    )
    print_profile(many)
    assert "and 20 more" in capsys.readouterr().out
    print_profile(many, everything=True)
    out = capsys.readouterr().out
    assert "more" not in out
    assert out.index("l5 ") < out.index("l30 ")


def test_the_page_is_whole_and_escaped(result: Profile) -> None:
    page = render_profile(result)
    root = ElementTree.fromstring(
        page.replace("<!DOCTYPE html>", "")
        .replace("<br>", "<br/>")
        .replace('<meta charset="utf-8">', "")
    )
    assert root.find("body") is not None
    assert "a &lt;b&gt;.onnx" in page
    assert "http" not in page
    times, roofline = svgs(page)
    assert {"layer, in order", "time [ms]", "bound by compute"} <= set(texts(times))
    # The layer that takes longer is drawn larger; both reach 100 GFLOP/s, so they are level.
    short, long = (
        next(mark for said, mark in hints(roofline).items() if said.startswith(name))
        for name in ("stem/Conv", "body/Conv")
    )
    assert {"GFLOP/s", "arithmetic intensity [FLOPs per byte]", "100"} <= set(texts(roofline))
    assert sum("GB/s in working sets of" in said for said in hints(roofline)) == 2
    assert extent(long) == pytest.approx(2**0.5 * extent(short), rel=0.02)
    assert middle(long) == pytest.approx(middle(short), abs=0.1)


def test_heights_are_shares(result: Profile) -> None:
    times, _ = svgs(render_profile(result))
    heights = {said.split(" ")[0]: height(mark) for said, mark in hints(times).items()}
    assert heights["body/Conv"] == pytest.approx(2 * heights["stem/Conv"], rel=1e-3)
    assert heights["stem/Conv"] == pytest.approx(heights["pool"], rel=1e-3)


def test_no_time_is_negative(result: Profile) -> None:
    faster = replace(result, overhead_ms=-0.3, kernels_ms=4.5)
    assert "layers 4.50 ms under the profiler" in render_profile(faster)
    assert "-0.3" not in render_profile(faster)


def test_a_model_that_multiplies_nothing_has_a_page(result: Profile) -> None:
    render_profile(replace(result, layers=(result.layers[1],)))
