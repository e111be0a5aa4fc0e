"""Searches that save predicted latency."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compressc.goal import Goal
from compressc.latency.latency_model import build_latency_model
from compressc.pass_protocol import Context
from compressc.passes.ascai.genetic_search import Ascai
from tests.latency.conftest import formula_table, kernels_of
from tests.search_kit import trained


def test_what_a_search_saves_is_what_the_table_predicts(tmp_path: Path) -> None:
    program, task = trained()
    kernels = kernels_of(program, tmp_path / "full.onnx")
    table = formula_table(kernels)
    table = replace(table, networks={"n.onnx": kernels})
    model = build_latency_model(program.coupling, kernels, table, kernels.latency_ms["p50"])
    search = Ascai(population=8, generations=3, spaces=("ps",), score="latency", least_penalty=5.0)
    found = search(program, Context(Goal(), task=task, cost_table=table))
    whole = model.latency_ms(model.sizes)
    saved = (whole - model.latency_ms(model.counts_of(found.plan))) / whole
    assert saved > 0
    score = float(found.history[-1].notes[0].split("score ")[1].split(",")[0])
    assert score == pytest.approx(saved / 5, rel=1e-3)
