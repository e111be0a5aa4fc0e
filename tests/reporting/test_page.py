"""The HTML page: self-contained, escaped, with bars that say what the numbers say."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from compressc.reporting.page import render_page
from compressc.reporting.report import LayerRow, PinRow
from compressc.verdict import Check, Verdict
from tests.reporting.conftest import FASTER, SLOWER, make_bench, make_report
from tests.reporting.svg_kit import height, hints, svgs, texts

VOID = {"meta", "rect", "line", "br"}


class Balance(HTMLParser):
    """Fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def parse(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    page = render_page(make_report(bench=make_bench(FASTER)))
    parse(page)
    assert not re.search(r"(src|href)=\"(?!#|data:)|url\((?!#)|@import|<script|http", page)


def test_names_are_escaped() -> None:
    page = render_page(make_report(pins=(PinRow("<script>alert(1)</script>", "a & b"),)))
    assert "<script>" not in page
    assert "net &lt;1&gt;.pt" in page
    assert "conv&lt;1&gt;" in page
    assert "a &amp; b" in page


def test_bars_are_proportional_to_widths_and_macs() -> None:
    widths, macs = svgs(render_page(make_report()))
    for svg, before, after in (
        # Output channels 64 -> 32, 10 -> 10; then MACs 1.5 M -> 0.7 M, 0.5 M -> 0.28 M.
        (widths, (64, 10), (32, 10)),
        (macs, (1.5, 0.5), (0.7, 0.28)),
    ):
        bars = [mark for mark in svg.iter("path") if mark.find("title") is not None]
        heights = [height(bar) for bar in bars]
        scale = heights[0] / before[0]
        assert heights == pytest.approx([scale * x for x in (*before, *after)], rel=1e-3)
        assert {"layer, in order", "before", "after"} <= set(texts(svg))
    assert "conv<1>: 64 to 32" in hints(widths)
    assert "output channels" in texts(widths)
    assert "MACs" in texts(macs)
    assert any(text.endswith(" M") for text in texts(macs))


def test_ticks_are_round() -> None:
    layers = tuple(
        LayerRow(f"l{i}", "conv2d", (3, 97), (3, 61), 123_457, 71_234, 10, 5) for i in range(7)
    )
    widths, _ = svgs(render_page(make_report(layers=layers)))
    numbers = [int(text) for text in texts(widths) if text.isdigit()]
    assert {0, 50} <= set(numbers)
    assert 97 not in numbers


def test_latency_per_layer_appears_where_it_was_measured() -> None:
    report = make_report()
    assert "latency [ms]" not in render_page(report)
    timed = replace(report.layers[0], latency_ms_before=0.25, latency_ms_after=0.125)
    page = render_page(make_report(layers=(timed, report.layers[1])))
    assert "latency [ms]" in page
    assert "0.25 &rarr; 0.125" in page


def test_the_badge_and_the_speed_are_frank() -> None:
    assert '<span class="badge good">equivalence verified' in render_page(make_report())
    failed = render_page(make_report(verdict=Verdict((Check("a", False, "off by 1"),))))
    assert '<span class="badge bad">equivalence not verified' in failed
    slow = render_page(make_report(bench=make_bench(SLOWER)))
    assert "SLOWER than the original" in slow
    assert 'class="card plain"' in slow


def test_many_layers_and_pins_stay_readable() -> None:
    layers = tuple(
        LayerRow(f"layer{i}", "conv2d", (64, 64), (64, 32), 1000, 500, 10, 5) for i in range(500)
    )
    pins = tuple(PinRow(f"add{i}", "a stem that stays") for i in range(40))
    page = render_page(make_report(layers=layers, pins=pins))
    parse(page)
    assert 'class="layers dense"' in page
    assert "40 places" in page
    assert len(page) < 1_500_000


def test_a_model_without_layers_has_a_page() -> None:
    page = render_page(make_report(layers=(), pins=()))
    parse(page)
    assert "every channel could have been removed" in page


def test_a_page_suits_a_phone_and_the_dark() -> None:
    page = render_page(make_report())
    assert "prefers-color-scheme: dark" in page
    assert page.count('<div class="scroll"><table') >= 3
    assert "1.00 k" not in page or "&rarr;" in page


def test_params_stand_before_and_after() -> None:
    assert "800 &rarr; 300" in render_page(make_report())
