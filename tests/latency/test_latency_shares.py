"""Weights of groups: how much each gives up where nothing says which is more important."""

import numpy as np
import pytest

from compressc.coupling.graph import couple
from compressc.latency.latency_model import LatencyModel, build_latency_model
from compressc.passes.latency.shares import weigh_by_throughput, weigh_by_time
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.widths.ladders import Ladder, build_ladder
from tests.latency.conftest import build_program, formula_table, full_kernels

NAME = "residual"


def model_and_ladders() -> tuple[LatencyModel, list[Ladder]]:
    program = build_program(NAME)
    kernels = full_kernels(NAME)
    model = build_latency_model(couple(program), kernels, formula_table(kernels))
    importance = measure_feature(program, "l2")
    groups = [couple(program).group(name) for name in model.groups]
    return model, [build_ladder(group, importance[group.name]) for group in groups]


def test_weights_by_time_are_the_time_of_a_groups_kernels() -> None:
    model, ladders = model_and_ladders()
    weights = weigh_by_time(ladders, model)
    spent = [model.partial_ms(terms, model.sizes) for terms in model.touched]
    assert weights == pytest.approx(np.array(spent) / max(spent))


def test_a_group_whose_macs_are_slow_weighs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ladders = model_and_ladders()
    program = build_program(NAME)
    before = weigh_by_throughput(ladders, model, program)
    assert before.max() == 1
    assert (before > 0).all()
    slow = 0
    touched = set(model.touched[slow])
    true_ms = LatencyModel.partial_ms

    def slower(self: LatencyModel, terms: tuple[int, ...], counts: np.ndarray) -> float:
        own = [term for term in terms if term in touched and set(terms) == touched]
        return true_ms(self, terms, counts) + true_ms(self, own, counts)

    monkeypatch.setattr(LatencyModel, "partial_ms", slower)
    after = weigh_by_throughput(ladders, model, program)
    others = [place for place in range(len(ladders)) if set(model.touched[place]) != touched]
    assert others
    assert all(after[slow] / after[i] < before[slow] / before[i] for i in others)
