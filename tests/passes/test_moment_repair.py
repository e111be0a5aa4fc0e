"""Repair from moments: the weights that least squares on the data itself would give."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.passes.reconstruction import moment_repair
from compressc.passes.reconstruction.judged_weights import JudgedWeights
from compressc.passes.reconstruction.layer_fit import reconstruct
from compressc.passes.reconstruction.layers import cut_layers
from compressc.passes.reconstruction.moment_repair import MomentRepair, measure_moment_repair
from compressc.plan import Plan
from compressc.program import Program
from tests.plans import random_plan
from tests.search_kit import trained

RIDGE = 1e-3


class Mixed(nn.Module):
    """A convolution with a bias, a grouped and a depthwise one, batch norms, linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.plain = nn.Conv2d(8, 12, 3, padding=1, stride=2)
        self.grouped, self.norm = nn.Conv2d(12, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.wide, self.fc = nn.Linear(8, 24, bias=False), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.plain(torch.relu(self.stem(x))))
        x = torch.relu(self.norm(self.grouped(x)))
        x = torch.relu(self.depthwise(x)).mean((2, 3))
        return self.fc(torch.relu(self.wide(x)))


def mixed() -> tuple[Program, list[tuple[Tensor]]]:
    torch.manual_seed(0)
    model = Mixed()
    batches = [(torch.randn(24, 3, 9, 9),) for _ in range(2)]
    for batch in batches:
        model.train()(*batch)
    return compressc.capture(model.eval(), (torch.randn(2, 3, 9, 9),)), batches


def plan_of(program: Program, kinds: str) -> Plan:
    plan = random_plan(couple(program), 3) if "keep" in kinds else Plan()
    if "rank" in kinds:
        plan = couple(program).fit_ranks(replace(plan, rank={"plain": (3, 3), "wide": (2,)}))
        assert plan.rank
    if "zero" in kinds:
        rng = np.random.default_rng(0)
        names = ("grouped.weight", "fc.weight")
        shapes = {name: tuple(program.state()[name].shape) for name in names}
        plan = plan.with_zero({name: rng.random(shapes[name]) > 0.5 for name in names})
    return plan


def read_and_made(program: Program, batches, names) -> dict[str, list[Tensor]]:
    """Return the values of nodes of the original network, per batch."""
    values: dict[str, list[Tensor]] = {name: [] for name in names}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n):
            value = super().run_node(n)
            if n.name in values:
                values[n.name].append(value)
            return value

    with torch.no_grad():
        for batch in batches:
            Recorder(program.graph_module).run(*batch)
    return values


@pytest.mark.parametrize("kinds", ["keep", "zero", "rank", "keep zero rank"])
def test_it_gives_what_least_squares_on_the_data_give(kinds):
    program, batches = mixed()
    plan = plan_of(program, kinds)
    repair = measure_moment_repair(program, batches, RIDGE, lambda *_: None)
    mended = repair.mend(program.state(), couple(program), plan)
    layers = {
        layer.node: layer for layer in cut_layers(repair.layers.values(), couple(program), plan)
    }
    names = {layer.source for layer in layers.values()} | set(layers)
    values = read_and_made(program, batches, names)
    changed = set()
    for layer in layers.values():
        if layer.inputs.all() and layer.alive is None and not layer.ranks:
            continue
        state = {name: tensor.clone() for name, tensor in program.state().items()}
        left = torch.as_tensor(layer.inputs)
        shape = (1, -1, 1, 1) if layer.geometry.rank else (1, -1)
        inputs = [value * left.view(shape) for value in values[layer.source]]
        reconstruct(layer, state, inputs, values[layer.node], None, RIDGE)
        for name in (layer.weight, layer.bias, layer.norm and layer.norm.mean):
            if name in mended:
                changed.add(name)
                torch.testing.assert_close(mended[name], state[name], rtol=1e-3, atol=1e-4)
    assert changed == set(mended)
    refitted = {"keep": "wide.weight", "zero": "fc.weight", "rank": "plain.weight"}
    name = refitted[kinds.split()[0]]
    assert not torch.allclose(mended[name], program.state()[name], atol=1e-2)


def test_the_outputs_of_a_layer_come_nearer():
    program, batches = mixed()
    plan = plan_of(program, "keep")
    repair = measure_moment_repair(program, batches, RIDGE, lambda *_: None)
    decided = program.with_plan(plan)
    (x,) = batches[0]
    expected = program.graph_module(x)
    cut = compressc.lower(decided).graph_module(x)
    mended = compressc.lower(repair.repaired(decided)).graph_module(x)
    assert (mended - expected).square().mean() < 0.5 * (cut - expected).square().mean()
    before, after = program.state(), decided.state()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_nothing_changes_where_nothing_was_lost():
    program, batches = mixed()
    repair = measure_moment_repair(program, batches, RIDGE, lambda *_: None)
    assert repair.mend(program.state(), couple(program), Plan()) == {}


def test_it_travels():
    program, batches = mixed()
    repair = measure_moment_repair(program, batches, RIDGE, lambda *_: None)
    far: MomentRepair = pickle.loads(pickle.dumps(repair))
    plan = plan_of(program, "keep")
    near_by, far_off = (r.mend(program.state(), couple(program), plan) for r in (repair, far))
    assert near_by
    assert all(torch.equal(near_by[name], far_off[name]) for name in near_by)
    assert far.identity == repair.identity


def test_its_identity_is_that_of_samples_and_ridge():
    program, batches = mixed()
    first = measure_moment_repair(program, batches, RIDGE, lambda *_: None)
    for other in (
        measure_moment_repair(program, batches[:1], RIDGE, lambda *_: None),
        measure_moment_repair(program, batches, 2 * RIDGE, lambda *_: None),
    ):
        assert other.identity != first.identity


def test_layers_too_wide_to_measure_stay_as_they_are_cut(monkeypatch):
    monkeypatch.setattr(moment_repair, "_MOST_FEATURES", 20)
    program, batches = mixed()
    repair = measure_moment_repair(program, batches, RIDGE, lambda *_: None)
    mended = repair.mend(program.state(), couple(program), plan_of(program, "keep"))
    assert "plain.weight" not in mended
    assert "wide.weight" in mended


def test_as_cut_there_is_no_repair():
    program, task = trained()
    assert JudgedWeights("as-cut").open_repair(program, task, 0, "me", lambda *_: None) is None
    assert JudgedWeights().open_repair(program, task, 0, "me", lambda *_: None) is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"judge": "trained"}, "give repaired or as-cut"),
        ({"repair_samples": 0}, "at least 1"),
        ({"repair_ridge": -1.0}, "0 or more"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(GoalError, match=message):
        JudgedWeights(**settings)
