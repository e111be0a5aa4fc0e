"""The page of a search."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from compressc.costs import Cost
from compressc.reporting.search_page import render_search
from compressc.search.history import (
    Event,
    Generation,
    History,
    Iteration,
    Note,
    ScoredPoint,
    SearchHead,
)
from compressc.search.trials import Trial


def history(generations: int = 4, individuals: int = 5) -> History:
    def score(number: int, index: int) -> ScoredPoint:
        macs = 1000 - 60 * number - 20 * index
        metric = 99.0 - index - 0.2 * number
        point = (0.2 * index, 8.0 - index)
        trial = Trial(f"{number}-{index}", metric, Cost(macs, macs, macs), 0.1, point)
        return ScoredPoint(point, trial, 1 / (1 + index))

    events: list[Event] = [Note("drawn <near> the bound")]
    for number in range(generations):
        population = tuple(score(number, index) for index in range(individuals))
        events += [scored.trial for scored in population]
        events.append(Generation(number, 5 * (number + 1), population))
    head = SearchHead(
        "ascai",
        ("ps <a>", "svd fc"),
        ((0.0, 1.0), (8.0, 1.0)),
        99.5,
        {"macs": 1000, "params": 1000, "size_bytes": 1000},
        97.0,
        {"population": 5},
    )
    return History(head, tuple(events))


def svgs(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.S)]


def test_it_shows_score_cost_and_population():
    page = render_search(history())
    score, cost, scatter, *populations = svgs(page)
    assert len(score.findall("polyline")) == 3
    assert len(cost.findall("polyline")) == 2
    assert len(scatter.findall("circle")) == 20
    assert len(populations) == 3
    assert all(len(found.findall("rect")) == 10 for found in populations)
    assert "best score 1:" in page
    assert "ps &lt;a&gt;" in page
    assert "generation 0" in page
    assert "generation 3" in page
    assert "drawn &lt;near&gt; the bound" in page


def test_curves_have_a_point_per_generation_inside_the_drawing():
    score, *_ = svgs(render_search(history(generations=7)))
    for line in score.findall("polyline"):
        points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        assert len(points) == 7
        assert all(0 <= x <= 960 and 0 <= y <= 220 for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_colours_say_how_much_is_compressed():
    *_, last = svgs(render_search(history(generations=1)))
    first, *_, strongest = last.findall("rect")
    assert first.attrib["fill"] == "rgb(255,255,255)"
    assert strongest.attrib["fill"] != first.attrib["fill"]


@pytest.mark.parametrize("amount", ["macs", "params", "size_bytes"])
def test_every_cost_can_be_plotted(amount):
    assert "% of the" in render_search(history(), amount)


def test_short_and_empty_searches_have_a_page_too():
    assert len(svgs(render_search(history(generations=1, individuals=1)))) == 4
    assert svgs(render_search(replace(history(), events=()))) == []


def test_iterations_are_shown_with_baseline_value_error_and_layers():
    events = tuple(
        Iteration(n, 1 + n // 3, 10 * n, n - 5.0, n - 4.0, 1 / n, (0.1 * n, 0.0))
        for n in range(1, 7)
    )
    page = render_search(History(history().head, events))
    score, error, layers = svgs(page)
    best, baseline = (
        [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        for line in score.findall("polyline")
    )
    assert len(best) == len(baseline) == 6
    # Up is smaller in a picture: the best lies above the baseline, and both rise.
    assert all(above[1] < below[1] for above, below in zip(best, baseline, strict=True))
    assert [y for _, y in baseline] == sorted((y for _, y in baseline), reverse=True)
    (falling,) = error.findall("polyline")
    heights = [float(pair.split(",")[1]) for pair in falling.attrib["points"].split()]
    assert heights == sorted(heights)
    cells = layers.findall("rect")
    assert len(cells) == 12
    assert cells[1].attrib["fill"] == "rgb(255,255,255)"
    assert "iteration 6, segment 3: 60 %" in page
    assert "in\n6 iterations over 2 groups" in page
