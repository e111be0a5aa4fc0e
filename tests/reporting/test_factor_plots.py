"""Factors as the report draws them."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import pytest
import torch

from compressc.factor_picture import LEVEL_NAMES, FactorPicture
from compressc.passes.snn.factor_pictures import count_levels, draw
from compressc.reporting.factor_plots import LEVELS, draw_factors, shade
from compressc.reporting.page import render_page
from tests.reporting.conftest import make_report
from tests.reporting.svg_kit import height, hints, svgs, texts
from tests.reporting.test_page import parse

FACTORS = torch.tensor([[0.0, 0.0, 0.3], [0.7, 1.0, 2.0], [0.0, 1.5, 9.0]])


def picture() -> FactorPicture:
    return draw("fc<1>", FACTORS, [[1.0, 0, 0, 0, 0], count_levels(FACTORS)])


def test_levels_begin_right_above_zero() -> None:
    assert count_levels(FACTORS) == pytest.approx([3 / 9, 1 / 9, 1 / 9, 2 / 9, 2 / 9])
    assert count_levels(torch.tensor([0.0, 1e-9])) == [0.5, 0.5, 0, 0, 0]
    assert len(LEVEL_NAMES) == 5


def test_a_large_matrix_is_drawn_in_few_cells() -> None:
    factors = torch.zeros(480, 96)
    factors[:240, :48] = 4.0
    large = draw("fc1", factors, [count_levels(factors)])
    assert (len(large.zeros), len(large.zeros[0])) == (48, 48)
    assert (large.rows, large.columns) == (480, 96)
    assert large.zeros[0][0] == 0
    assert large.means[0][0] == 4
    assert large.zeros[47][0] == large.zeros[0][47] == 1
    assert large.means[47][47] == 0


def test_a_picture_survives_json() -> None:
    document = json.loads(json.dumps(asdict(picture())))
    assert FactorPicture.from_document(document) == picture()


def test_cells_have_the_colours_of_their_levels() -> None:
    drawn = picture()
    shades = shade(drawn.zeros, drawn.means)
    colours = {
        level.name: [int(x) / 255 for x in re.findall(r"\d+", level.colour)] for level in LEVELS
    }
    levels = [
        [None, None, "below 0.5"],
        ["0.5 to 1", "1 to 2", "2 and above"],
        [None, "1 to 2", "2 and above"],
    ]
    for row, names in zip(shades, levels, strict=True):
        for cell, name in zip(row, names, strict=True):
            # Zeros are left without colour.
            assert cell[3] == (name is not None)
            assert name is None or list(cell[:3]) == pytest.approx(colours[name])


def test_bars_are_as_high_as_the_shares() -> None:
    (drawn,) = svgs(draw_factors(picture()).levels)
    bars = {said: height(mark) for said, mark in hints(drawn).items()}
    whole = bars["epoch 1: 100.0 % 0"]
    for share, name in zip((3, 1, 1, 2, 2), LEVEL_NAMES, strict=True):
        said = f"epoch 2: {100 * share / 9:.1f} % {name}"
        assert bars[said] == pytest.approx(whole * share / 9, abs=0.1)
    assert {"epoch", "share [%]"} <= set(texts(drawn))


def test_the_page_shows_them_and_escapes_names() -> None:
    page = render_page(make_report(pictures=(picture(),)))
    parse(page)
    assert "fc&lt;1&gt;: 3 x 3 connections, 33.3% of them off" in page
    assert "Factors on connections" not in render_page(make_report())
    neurons = draw("fc", torch.ones(4, 1), [])
    assert "fc: 4 neurons" in render_page(make_report(pictures=(neurons,)))


def test_the_report_holds_them() -> None:
    document = make_report(pictures=(picture(),)).to_dict()
    assert document["pictures"][0]["layer"] == "fc<1>"
    assert document["pictures"][0]["levels"][0] == [1.0, 0, 0, 0, 0]
    json.loads(make_report(pictures=(picture(),)).to_json())
