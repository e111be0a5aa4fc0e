"""The page of a search."""

from __future__ import annotations

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
from tests.reporting.svg_kit import hints, lines, svgs, texts


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


def test_it_shows_score_cost_and_population():
    page = render_search(history())
    score, cost, scatter, *populations = svgs(page)
    assert {"score", "generation", "best so far", "mean of the population"} <= set(texts(score))
    assert {"MACs left [%]", "generation"} <= set(texts(cost))
    assert {"MACs left [%]", "metric", "Pareto front", "threshold"} <= set(texts(scatter))
    assert len(hints(scatter)) == 20
    assert "generation 1: 90.0 % left, metric 96.8, score 0.3333" in hints(scatter)
    assert len(populations) == 3
    assert all(len(list(population.iter("image"))) == 1 for population in populations)
    assert "best score 1:" in page
    assert "ps &lt;a&gt;" in page
    assert "generation 0" in page
    assert "generation 3" in page
    assert "drawn &lt;near&gt; the bound" in page


def test_curves_have_a_point_per_generation_inside_the_drawing():
    score, cost, *_ = svgs(render_search(history(generations=7)))
    _, _, width, height = map(float, score.get("viewBox", "").split())
    for svg, role in ((score, "width"), (cost, "time")):
        (line,) = lines(svg, role)
        assert all(0 <= x <= width and 0 <= y <= height for x, y in line)
        assert [x for x, _ in line] == sorted(x for x, _ in line)
    # 40 % less and downwards: each generation has 6 % fewer MACs.
    (falling,) = lines(cost, "time")
    assert len(falling) == 7
    assert [y for _, y in falling] == sorted(y for _, y in falling)


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
    (best,), (baseline,) = lines(score, "width"), lines(score, "time")
    # Up is smaller in a picture: the best lies above the baseline, and both rise.
    assert best[0][1] < baseline[0][1]
    assert best[-1][1] < baseline[-1][1]
    assert [y for _, y in baseline] == sorted((y for _, y in baseline), reverse=True)
    (falling,) = lines(error, "macs")
    assert [y for _, y in falling] == sorted(y for _, y in falling)
    # What is never negative has no axis below 0.
    assert not any("\N{MINUS SIGN}" in text for text in texts(error))
    assert {"group of channels", "iteration"} <= set(texts(layers))
    assert "in\n6 iterations over 2 groups" in page
