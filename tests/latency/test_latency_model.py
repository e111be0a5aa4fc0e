"""Widths that the model predicts are those that the pruned file really has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compressc.coupling.graph import couple
from compressc.latency.latency_model import LatencyModel, build_latency_model
from compressc.plan import Plan
from compressc.runtime.cost_prediction import predict
from tests.latency.conftest import (
    build_program,
    formula_table,
    full_kernels,
    halved,
    halved_kernels,
)


def build(name: str, measured_ms: float | None = None) -> LatencyModel:
    kernels, coupling = full_kernels(name), couple(build_program(name))
    return build_latency_model(coupling, kernels, formula_table(kernels), measured_ms)


def test_kernels_have_the_widths_of_the_pruned_file(name: str) -> None:
    model = build(name)
    counts = model.counts_of(halved(name).plan)
    predicted = [
        (term.kernel.kind, tuple(int(w) for w in term.base + term.rows @ counts))
        for term in model.terms
        if term.kernel.kind is not None and term.kernel.kind.variables
    ]
    found = [
        (k.kind, k.widths)
        for k in halved_kernels(name).kernels
        if k.kind is not None and k.kind.variables
    ]
    assert sorted(predicted, key=repr) == sorted(found, key=repr)
    assert len(found) >= 4


def test_latency_of_a_plan_is_that_of_its_file(name: str) -> None:
    model = build(name)
    expected = predict(model.table, halved_kernels(name)).latency_ms
    found = model.latency_ms(model.counts_of(halved(name).plan))
    # Kernels without widths (Flatten) are left as they are.
    assert found == pytest.approx(expected, rel=0.05)
    assert found < 0.7 * model.latency_ms(model.sizes)


def test_the_original_is_what_was_measured(name: str) -> None:
    model = build(name, measured_ms=12.5)
    assert model.latency_ms(model.sizes) == pytest.approx(12.5)
    assert model.latency_ms(model.counts_of(Plan())) == pytest.approx(12.5)


def test_only_touched_kernels_change(name: str) -> None:
    model = build(name)
    for group, terms in enumerate(model.touched):
        counts = model.sizes.copy()
        counts[group] //= 2
        whole = model.latency_ms(counts) - model.latency_ms(model.sizes)
        part = model.partial_ms(terms, counts) - model.partial_ms(terms, model.sizes)
        assert part == pytest.approx(whole)
        assert whole < 0


def test_counts_that_leave_the_blocked_layout_are_slower_than_the_next_block() -> None:
    model = build("residual")
    odd, whole = model.sizes.copy(), model.sizes.copy()
    wide = int(np.argmax(model.sizes))
    odd[wide], whole[wide] = 79, 80
    assert model.latency_ms(odd) > model.latency_ms(whole)
    odd[wide] = 76
    assert model.latency_ms(odd) == pytest.approx(model.latency_ms(whole))


def test_kernels_that_cannot_run_alone_stay_as_they_were() -> None:
    program, kernels = build_program("depthwise"), full_kernels("depthwise")
    opaque = tuple(replace(k, kind=None, widths=(), own_ms=3.0) for k in kernels.kernels)
    table = formula_table(kernels)
    model = build_latency_model(couple(program), replace(kernels, kernels=opaque), table)
    assert model.latency_ms(model.sizes) == pytest.approx(3.0 * len(opaque) + table.call_ms)
    assert model.latency_ms(model.sizes // 2) == pytest.approx(model.latency_ms(model.sizes))
