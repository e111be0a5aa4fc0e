from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.errors import CompresscError, GoalError
from compressc.goal import Goal
from compressc.passes.magnitude import Magnitude
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.surgeon import Surgeon
from compressc.passes.unit_features.reconstruction_errors import measure_unit_errors
from compressc.program import Constraints, Program
from compressc.proof.masking import masked
from tests.noise_tasks import Noise


class Net(nn.Module):
    """Channels that occur twice have the largest weights, so that magnitude keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.b, self.grouped = nn.Conv2d(12, 8, 3), nn.Conv2d(8, 8, 3, groups=2)
        self.fc = nn.Linear(8, 5)
        with torch.no_grad():
            for tensor in (self.a.weight, self.a.bias):
                tensor[4:8] = 3 * tensor[:4]
                tensor[:4] = tensor[4:8]

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(torch.relu(self.norm(self.a(x))))
        return self.fc(torch.relu(self.grouped(torch.relu(x))).mean((2, 3)))


def make() -> Program:
    torch.manual_seed(0)
    return compressc.capture(Net().double().eval(), (torch.randn(2, 3, 8, 8).double(),))


def context(macs: float | None = None) -> Context:
    return Context(Goal(macs=macs) if macs else Goal(), task=Noise())


def error(program: Program) -> float:
    (x,) = next(Noise().calibration_batches(32, 99))
    with torch.no_grad():
        wanted = make().graph_module(x)
        return float((masked(program)(x) - wanted).square().mean() / wanted.var())


def test_one_of_each_pair_of_equal_channels_leaves_first():
    program = make()
    keep = Surgeon(ratios=(("a", 8 / 12),))(program, context()).plan.keep
    assert set(keep) == {"a"}
    assert (keep["a"][:4] ^ keep["a"][4:8]).all()
    assert keep["a"][8:].all()


def test_what_it_removes_can_be_repaired_better_than_what_magnitude_removes():
    widths = (("a", 8 / 12),)
    chosen = [one(make(), context()) for one in (Surgeon(ratios=widths), Magnitude(ratios=widths))]
    repaired = [error(Calibration()(program, context())) for program in chosen]
    assert repaired[0] < 0.01 * repaired[1]


def test_every_group_is_judged_in_the_order_of_the_coupling():
    program = make()
    batches = list(Noise().calibration_batches(64, 0))
    found = measure_unit_errors(program, batches, 1e-3, lambda *_: None)
    free = [group for group in couple(program).groups if group.pinned is None]
    assert set(found) == {group.name for group in free}
    for group in free:
        assert found[group.name].shape == (group.size,)
        assert (found[group.name] > 0).all()


def test_conv_groups_keep_equally_many_channels():
    keep = Surgeon(ratios=(("b", 0.5),))(make(), context()).plan.keep["b"]
    assert keep[:4].sum() == keep[4:].sum() == 2


def test_the_goal_is_met():
    decided = Surgeon()(make(), context(0.4))
    assert cost_of(decided).macs <= 0.4 * couple(decided).cost(type(decided.plan)()).macs


def test_a_group_that_no_layer_reads_is_judged_by_its_weights():
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.query = nn.Linear(3, 6), nn.Linear(6, 8)
            self.key, self.fc = nn.Linear(6, 8), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.stem(x))
            return self.fc((self.query(x) @ self.key(x).mT).softmax(-1) @ x)

    program = compressc.capture(Gate().double(), (torch.randn(2, 5, 3).double(),))
    batches = [(torch.randn(16, 5, 3).double(),)]
    found = measure_unit_errors(program, batches, 1e-3, lambda *_: None)
    heads = found["query"] / found["query"].mean()
    assert heads.std() > 0
    assert found["query"].mean() == pytest.approx(np.median([found["stem"].mean()]), rel=1e-6)


def test_constraints_hold():
    program = make().with_constraints(Constraints(keep=("b",), multiple_of=4))
    plan = Surgeon()(program, context(0.7)).plan
    assert set(plan.keep) <= {"a", "grouped"}
    assert all(mask.sum() % 4 == 0 for mask in plan.keep.values())


@pytest.mark.parametrize("settings", [{"samples": 0}, {"ridge": 0.0}, {"floor": 2.0}])
def test_settings_out_of_range(settings):
    with pytest.raises(GoalError):
        Surgeon(**settings)


def test_it_needs_data():
    with pytest.raises(CompresscError, match="surgeon needs data"):
        Surgeon()(make(), Context(Goal(macs=0.5)))
