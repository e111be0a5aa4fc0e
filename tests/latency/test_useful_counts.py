"""Counts worth choosing from: each faster than every wider one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from compressc.coupling.graph import couple
from compressc.latency.latency_model import LatencyModel, build_latency_model
from compressc.passes.latency.useful_counts import with_useful_counts
from compressc.passes.widths.ladders import Ladder, build_ladder
from compressc.program import Constraints
from tests.latency.conftest import build_program, formula_table, full_kernels

Cost = Callable[[int], float]


def useful(cost: Cost, monkeypatch: pytest.MonkeyPatch) -> tuple[Ladder, Ladder]:
    """The ladder of a group of 96 channels that takes ``cost``: all counts, and the useful ones."""
    program = build_program("residual").with_constraints(Constraints())
    kernels = full_kernels("residual")
    model = build_latency_model(couple(program), kernels, formula_table(kernels))
    place = int(np.flatnonzero(model.sizes == 96)[0])
    monkeypatch.setattr(
        LatencyModel, "partial_ms", lambda _self, _terms, counts: cost(int(counts[place]))
    )
    group = couple(program).group(model.groups[place])
    whole = build_ladder(group, np.linspace(1.0, 2.0, 96))
    return whole, with_useful_counts(whole, model, place)


def test_a_staircase_keeps_its_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = useful(lambda count: float(-(-count // 16)), monkeypatch)
    assert found.counts.tolist() == [16, 32, 48, 64, 80, 96]


def test_a_width_that_is_slower_than_a_wider_one_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cost(count: int) -> float:
        return {48: 4.5, 80: 6.5}.get(count, float(-(-count // 16)))

    _, found = useful(cost, monkeypatch)
    assert found.counts.tolist() == [16, 32, 46, 64, 78, 96]


def test_finer_counts_stay_where_they_help_below_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def cost(count: int) -> float:
        return {4: 0.4, 8: 0.6, 12: 1.1}.get(count, float(-(-count // 16)))

    _, found = useful(cost, monkeypatch)
    assert found.counts.tolist() == [4, 8, 16, 32, 48, 64, 80, 96]


def test_gains_within_noise_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = useful(lambda count: 1.0 + 1e-6 * count, monkeypatch)
    assert found.counts.tolist() == [96]


def test_steps_are_worth_what_lies_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, found = useful(lambda count: float(-(-count // 16)), monkeypatch)
    above = whole.counts > 16
    assert found.worth.sum() == pytest.approx(whole.worth[np.flatnonzero(above) - 1].sum())
    for rung, count in enumerate(found.counts):
        assert found.mask(rung).sum() == count
