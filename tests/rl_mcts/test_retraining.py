"""Training between segments: what was learned in the small network is put where it came from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.passes.magnitude import Magnitude
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.rl_mcts.prunable_units import list_units
from compressc.passes.rl_mcts.retraining import spread_features, write_back
from compressc.passes.unit_features.registry import measure_feature
from compressc.search.history_file import read_history
from tests.rl_mcts.search_settings import make_search, run
from tests.search_kit import trained

PROGRESSIVE = {"epochs_per_segment": 1, "judge": "as-cut", "iterations": 1, "self_plays": 1}


class Tied(nn.Module):
    """A grouped and a transposed convolution, and a weight that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.grouped = nn.Conv2d(16, 24, 3, groups=2)
        self.up = nn.ConvTranspose2d(24, 12, 2)
        self.first, self.fc = nn.Linear(12, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(x)))
        x = torch.relu(self.up(torch.relu(self.grouped(x)))).mean((2, 3))
        return self.fc(self.first(self.first(x)))


def tied():
    torch.manual_seed(0)
    return compressc.capture(Tied().eval(), (torch.randn(2, 3, 8, 8),))


@pytest.mark.parametrize("make", [lambda: trained()[0], tied])
def test_lowered_again_the_network_is_the_trained_one(make):
    program = make()
    plan = Magnitude()(program, Context(Goal(macs=0.5))).plan
    small = compressc.lower(program.with_plan(plan))
    generator = torch.Generator().manual_seed(1)
    learned = small.state()
    for name, tensor in learned.items():
        if tensor.is_floating_point():
            learned[name] = torch.rand(tensor.shape, generator=generator)
    state = write_back(program, plan, learned)
    again = compressc.lower(program.with_state(state).with_plan(plan))
    for name, tensor in again.state().items():
        assert torch.equal(tensor, learned[name]), name
    whole, x = program.with_state(state), program.example_inputs
    with torch.no_grad():
        assert torch.allclose(whole.graph_module(*x), again.graph_module(*x), atol=1e-4)


def test_features_are_those_of_units_that_are_left():
    program, _ = trained()
    units = list_units(program, measure_feature(program, "l2"))
    kept = units.everything
    kept[[0, 3, 13]] = False
    before = units.by_group(np.zeros(units.count))
    new = {name: 1.0 + np.arange(mask.sum()) for name, mask in units.masks(kept).items()}
    spread = spread_features(units, kept, new, before)
    for name, mask in units.masks(kept).items():
        assert (spread[name][mask] == new[name]).all()
        assert (spread[name][~mask] == 0).all()
    del new["a"]
    new["wide"] = new["wide"][:-1]
    spread = spread_features(units, kept, new, before)
    assert (spread["a"] == 0).all()
    assert (spread["wide"] == 0).all()


def validated(program) -> float:
    return trained()[1].validate(compressc.lower(program).module())


def test_training_between_segments_keeps_what_cutting_alone_loses(tmp_path):
    goal = Goal(macs=0.3, trials=20)
    cut = run(make_search(**{**PROGRESSIVE, "epochs_per_segment": 0}), goal)
    searched = run(make_search(**PROGRESSIVE), goal, work_dir=tmp_path)
    assert cost_of(searched).macs <= 0.3 * cost_of(trained()[0]).macs
    assert validated(searched) > validated(cut)
    assert any(line.name == "finetune" for line in searched.history)
    (path,) = tmp_path.glob("rl-mcts-*.jsonl")
    assert len(read_history(path).trials) <= 20


def test_calibrate_behind_it_aims_at_what_was_trained():
    goal = Goal(macs=0.3, trials=20)
    program, task = trained()
    searched = run(make_search(**PROGRESSIVE), goal)
    repaired = Calibration()(searched, Context(goal, task=task, original=program))
    assert validated(repaired) >= validated(searched) - 1


def test_training_and_refitting_do_not_go_together():
    with pytest.raises(GoalError, match="give --judge as-cut"):
        make_search(**{**PROGRESSIVE, "judge": "repaired"})
