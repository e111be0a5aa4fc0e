from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.errors import CompresscError, GoalError, PlanError
from compressc.goal import Goal
from compressc.lowering.lowered import lower
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.reconstruction.refinement import RefinementSettings
from compressc.passes.surgeon import Surgeon
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.proof.equivalence import prove
from compressc.proof.masking import masked
from tests.noise_tasks import Noise


def closed_form(**settings) -> Calibration:
    """Return the pass without steps of a gradient, which have tests of their own."""
    return Calibration(refinement=RefinementSettings(refine_steps=0), **settings)


class Block(nn.Module):
    """Residual, grouped and depthwise; every hidden channel exists twice."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.a, self.a_norm = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.depthwise, self.d_norm = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.BatchNorm2d(12)
        self.b, self.b_norm = nn.Conv2d(12, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.c, self.grouped = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=2)
        self.fc1, self.fc2 = nn.Linear(8, 16), nn.Linear(16, 5)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)), self.inplace)
        y = F.relu(self.a_norm(self.a(x)), self.inplace)
        y = F.relu(self.d_norm(self.depthwise(y)), self.inplace)
        x = F.relu(self.b_norm(self.b(y)) + x, self.inplace)
        x = self.grouped(F.relu(self.c(x))).mean((2, 3))
        return self.fc2(F.relu(self.fc1(x)))


# Hidden channels by group: which half is a copy of the other.
HALVES = {
    "a": np.arange(12) < 6,
    "fc1": np.arange(16) < 8,
    "c": np.array([1, 1, 0, 0, 1, 1, 0, 0], bool),
}


def twin(module: nn.Module, kept: np.ndarray, *names: str) -> None:
    """Copy the kept output channels of some layers over the others."""
    for name in names:
        layer = module.get_submodule(name)
        for tensor in [*layer.parameters(), *layer.buffers()]:
            if tensor.dim():
                tensor.data[~kept] = tensor.data[kept]


def make(inplace: bool = False, duplicated: bool = True, seed: int = 0) -> Program:
    torch.manual_seed(seed)
    module = Block(inplace).double().eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
    if duplicated:
        twin(module, HALVES["a"], "a", "a_norm", "depthwise", "d_norm")
        twin(module, HALVES["c"], "c")
        twin(module, HALVES["fc1"], "fc1")
    return compressc.capture(module, (torch.randn(2, 3, 8, 8, dtype=torch.double),))


def prune(program: Program) -> Program:
    return program.with_plan(Plan(keep=HALVES))


def error(program: Program, original: Program) -> float:
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(99), dtype=torch.double)
    with torch.no_grad():
        wanted = original.graph_module(x)
        return float((masked(program)(x) - wanted).abs().max() / wanted.std())


def calibrate(program: Program, **settings: object) -> Program:
    return closed_form(**settings)(program, Context(Goal(), task=Noise()))


@pytest.mark.parametrize("inplace", [False, True])
def test_removed_copies_are_made_up_for_exactly(inplace):
    original = make(inplace)
    pruned = prune(original)
    assert error(pruned, original) > 0.1
    repaired = calibrate(pruned, ridge=1e-12, samples=256)
    assert error(repaired, original) < 1e-6


def test_the_lowered_model_is_the_repaired_one():
    repaired = calibrate(prune(make(duplicated=False)))
    assert prove(repaired, compressc.lower(repaired)).passed


def test_program_and_plan_stay_and_the_same_seed_gives_the_same_weights():
    pruned = prune(make(duplicated=False))
    state = {name: tensor.clone() for name, tensor in pruned.state().items()}
    first, second = calibrate(pruned), calibrate(pruned)
    for name, tensor in pruned.state().items():
        assert torch.equal(tensor, state[name])
        assert torch.equal(first.state()[name], second.state()[name])
    assert first.plan == pruned.plan
    assert any(not torch.equal(first.state()[name], state[name]) for name in state)
    assert first.history[-1].notes == ("repaired from 512 unlabelled samples",)


def test_where_nothing_is_removed_nothing_changes():
    original = make(duplicated=False)
    whole = original.with_plan(Plan(keep={name: np.ones_like(m) for name, m in HALVES.items()}))
    assert error(calibrate(whole), original) < 1e-9
    assert error(calibrate(whole, reconstruct=False), original) < 1e-9


def test_each_part_of_the_repair_helps():
    """Over several networks: statistics help, weights help more, residual targets most."""
    ratios = []
    for seed in range(4):
        original = make(duplicated=False, seed=seed)
        pruned = original.with_plan(Plan(keep={"a": HALVES["a"]}))
        cut = error(pruned, original)
        statistics = error(calibrate(pruned, reconstruct=False), original)
        ratios.append((statistics / cut, error(calibrate(pruned), original) / cut))
    statistics, weights = np.mean(ratios, axis=0)
    assert weights < statistics < 0.95
    assert weights < 0.6


class Chain(nn.Module):
    """Blocks whose shortcut carries the error of a block that keeps too little."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 3, 3, padding=1)
        self.three, self.four = nn.Conv2d(3, 96, 3, padding=1), nn.Conv2d(96, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.two(torch.relu(self.one(x)))
        return x + self.four(torch.relu(self.three(x)))


def test_a_branch_makes_up_for_the_error_of_its_shortcut():
    torch.manual_seed(0)
    original = compressc.capture(Chain().double(), (torch.randn(2, 3, 8, 8).double(),))
    pruned = original.with_plan(Plan(keep={"one": np.arange(24) < 4}))
    with_target = error(calibrate(pruned), original)
    without = error(calibrate(pruned, residual=False), original)
    assert with_target < 0.9 * without


def halve_weights(program: Program, **others: object) -> Program:
    """Set the smaller half of the weights of three layers to zero."""
    state, zero = program.state(), {}
    for name in ("a.weight", "grouped.weight", "fc1.weight"):
        sizes = state[name].abs()
        zero[name] = (sizes > sizes.median()).numpy()
    return program.with_plan(Plan(zero=zero, **others))


@pytest.mark.parametrize("others", [{}, {"keep": HALVES}])
def test_weights_under_a_zero_mask_make_up_for_each_other(others):
    original = make(duplicated=False)
    pruned = halve_weights(original, **others)
    repaired = calibrate(pruned)
    assert error(repaired, original) < 0.75 * error(pruned, original)
    for name in pruned.plan.zero:
        assert not torch.equal(repaired.state()[name], pruned.state()[name])
    lowered = compressc.lower(repaired)
    assert prove(repaired, lowered).passed


RANKS = {"a": (5, 3), "b": (3,), "fc1": (3,)}


@pytest.mark.parametrize("others", [{}, {"keep": HALVES}])
def test_factorised_layers_get_the_weights_that_suit_their_ranks(others):
    original = make(duplicated=False)
    pruned = original.with_plan(Plan(**others).with_rank(RANKS))
    repaired = calibrate(pruned)
    assert error(repaired, original) < 0.8 * error(pruned, original)
    # The weight has its ranks already, so that factorising it loses nothing more.
    whole, x = repaired.with_plan(Plan(**others)), torch.randn(8, 3, 8, 8, dtype=torch.double)
    with torch.no_grad():
        torch.testing.assert_close(masked(whole)(x), masked(repaired)(x), atol=1e-10, rtol=1e-10)
    assert prove(repaired, compressc.lower(repaired)).passed


def test_statistics_of_the_decided_network_are_not_what_is_reproduced():
    """A search may leave such statistics; with them the whole network computes nothing sensible."""
    original = make(duplicated=False)
    pruned = prune(original)
    state = {name: tensor.clone() for name, tensor in pruned.state().items()}
    for name in state:
        if "running_mean" in name:
            state[name] += 0.7
    context = Context(Goal(), task=Noise(), original=original)
    adapted = closed_form()(pruned.with_state(state), context)
    expected = calibrate(pruned)
    for name, tensor in expected.state().items():
        assert torch.equal(adapted.state()[name], tensor)
    # Without the original nothing says which network was meant; with new weights it is this one.
    assert error(calibrate(pruned.with_state(state)), original) > 2 * error(expected, original)
    trained = {**state, "c.weight": state["c.weight"] * 1.5}
    own = closed_form()(pruned.with_state(trained), context)
    assert not torch.equal(own.state()["a.weight"], expected.state()["a.weight"])


def test_without_reconstruction_zeros_and_ranks_still_hold():
    original = make(duplicated=False)
    plan = halve_weights(original).plan
    zero = {name: mask for name, mask in plan.zero.items() if name == "grouped.weight"}
    pruned = original.with_plan(Plan(zero=zero).with_rank(RANKS))
    moved = calibrate(pruned, reconstruct=False)
    changed = {
        name
        for name, tensor in pruned.state().items()
        if not torch.equal(moved.state()[name], tensor)
    }
    assert changed
    assert all("running" in name for name in changed)
    assert prove(moved, compressc.lower(moved)).passed


def test_channels_that_never_fire_are_no_trouble():
    original = make(duplicated=False)
    state = {name: tensor.clone() for name, tensor in original.state().items()}
    state["a_norm.running_mean"] += 1e3
    dead = original.with_state(state)
    repaired = calibrate(prune(dead))
    assert all(torch.isfinite(t).all() for t in repaired.state().values() if t.is_floating_point())
    assert error(repaired, dead) < error(prune(dead), dead)
    found = Surgeon(samples=64)(dead, Context(Goal(macs=0.6), task=Noise()))
    assert found.plan.keep


def test_shared_weights_stay_as_they_are():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.twice = nn.Linear(4, 8), nn.Linear(8, 8)
            self.hidden, self.fc = nn.Linear(8, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.twice(torch.relu(self.twice(torch.relu(self.stem(x)))))
            return self.fc(torch.relu(self.hidden(x)))

    original = compressc.capture(Shared().double(), (torch.randn(2, 4).double(),))
    pruned = original.with_plan(Plan(keep={"hidden": np.arange(6) < 3}))
    task = Noise((4,))
    repaired = closed_form()(pruned, Context(Goal(), task=task))
    assert torch.equal(repaired.state()["twice.weight"], pruned.state()["twice.weight"])
    assert not torch.equal(repaired.state()["fc.weight"], pruned.state()["fc.weight"])


def test_activations_stay_within_their_memory():
    task = Noise()
    pruned = prune(make())
    repaired = closed_form(memory_bytes=10**6)(pruned, Context(Goal(), task=task))
    assert 1 <= task.asked < 100
    assert "of 512 samples are used" in repaired.history[-1].notes[1]


def test_progress_stays_within_its_total():
    seen: list[tuple[int, int]] = []
    context = Context(
        Goal(), task=Noise(), progress=lambda done, total, _: seen.append((done, total))
    )
    closed_form(samples=8)(prune(make()), context)
    assert seen
    assert all(0 <= done <= total for done, total in seen)


@pytest.mark.parametrize("settings", [{"samples": 0}, {"ridge": -1.0}])
def test_settings_out_of_range(settings):
    with pytest.raises(GoalError):
        closed_form(**settings)


def test_where_a_goal_is_met_as_it_is_there_is_nothing_to_repair():
    original = make()
    decided = original.with_line(HistoryLine("latency"))
    context = Context(Goal(), task=Noise(), original=original)
    repaired = closed_form()(decided, context)
    assert repaired.history[-1].notes == ("nothing was removed, so nothing was repaired",)
    assert error(repaired, original) == 0
    smaller = lower(prune(original)).with_line(HistoryLine("magnitude"))
    with pytest.raises(PlanError, match="nothing was removed"):
        closed_form()(smaller, context)


def test_what_it_cannot_do_is_said_in_one_line():
    with pytest.raises(PlanError, match="nothing was removed"):
        calibrate(make())
    with pytest.raises(CompresscError, match="calibrate needs data"):
        closed_form()(prune(make()), Context(Goal()))
