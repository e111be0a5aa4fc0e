"""The pass: what it drops, how it meets goals, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.contract.registry import find_pass
from compressc.coupling.graph import cost_of
from compressc.errors import DataError, GoalError, PlanError
from compressc.goal import Goal
from compressc.passes.decore.agent_analysis import analyse_agents
from compressc.passes.decore.agent_pruning import Decore
from compressc.passes.decore.agent_training import train_agents
from compressc.passes.decore.penalty_control import PenaltyControl
from compressc.passes.gates.gated_units import find_gated_units
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.proof.masking import masked
from compressc.tasks.loaders import LoaderTask, mean_of
from tests.passes.training_kit import Net, make_context, make_program, make_task, quick

USELESS = np.array([1, 4, 6])


@cache
def trained(norm: bool = True) -> Program:
    """Return a network that knows the textures."""
    return quick(epochs=4, learning_rate=0.1)(make_program(norm), make_context())


@cache
def with_useless_channels() -> Program:
    """Return a trained network in which layer b does not read three channels of layer a."""
    program = trained()
    state = {name: tensor.clone() for name, tensor in program.state().items()}
    state["b.weight"][:, USELESS] = 0
    return quick(epochs=2, learning_rate=0.02)(
        replace(program.with_state(state), sparse_weights=("b.weight",)), make_context()
    )


def decore(**fields) -> Decore:
    fields = {"epochs": 3, "agent_rate": 0.2, "first_weight": 1.5, "precision": "float32", **fields}
    return Decore(**fields)


def context(macs: float | None = None, seed: int = 0, **fields) -> Context:
    return replace(make_context(**fields), goal=Goal(macs=macs, seed=seed))


def test_it_is_registered() -> None:
    assert find_pass("decore") is Decore


@cache
def lookup() -> Program:
    """Return a network of 8 hidden units, of which the last four are not read."""

    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(4, 8, bias=False), nn.Linear(8, 4, bias=False)
            with torch.no_grad():
                self.fc1.weight.copy_(torch.eye(4).repeat(2, 1))
                self.fc2.weight.copy_(torch.eye(4, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.fc1(x).relu())

    return compressc.capture(Lookup().eval(), (torch.randn(2, 4),))


def lookup_task() -> LoaderTask:
    """Return points near the corners that tell the four classes."""
    labels = torch.arange(64) % 4
    noise = 0.1 * torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    loader = [(torch.eye(4)[labels] + noise, labels)] * 20
    rate = mean_of(lambda outputs, targets: (outputs.argmax(1) == targets).float())
    return LoaderTask(loader, loader, loader, nn.functional.cross_entropy, rate, "accuracy")


def learn_lookup(**fields) -> np.ndarray:
    program = lookup()
    settings = decore(mode="constraint", **fields)
    aim = context(macs=0.5, task=lookup_task())
    return train_agents(program, find_gated_units(program), settings, aim).weights


def test_useless_channels_are_dropped_and_useful_ones_are_kept() -> None:
    weights = learn_lookup(epochs=6, agent_rate=0.1, penalty=4.0)
    assert weights[4:].max() < weights[:4].min()
    assert (weights[:4] > 0).all()
    assert (weights[4:] < 0).all()


def test_a_frozen_network_runs_on_batch_statistics() -> None:
    """Running statistics that are off, as those of a cut network are, must not fool the agents."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.norm = nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8)
            self.fc2 = nn.Linear(8, 4, bias=False)
            with torch.no_grad():
                self.fc1.weight.copy_(torch.eye(4).repeat(2, 1))
                self.fc2.weight.copy_(torch.eye(4, 8))
                self.norm.running_mean.fill_(100.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.norm(self.fc1(x)).relu())

    program = compressc.capture(Shifted().eval(), (torch.randn(2, 4),))
    settings = decore(mode="constraint", epochs=6, agent_rate=0.1, penalty=4.0)
    aim = context(macs=0.5, task=lookup_task())
    weights = train_agents(program, find_gated_units(program), settings, aim).weights
    # The first class needs no channel of its own: where no other is found, argmax says 0.
    assert weights[4:].max() < 0 < weights[1:4].min()
    assert float(program.state()["norm.running_mean"].min()) == 100.0


def test_the_controller_comes_to_the_goal_where_the_penalty_is_wrong() -> None:
    wrong = {"epochs": 10, "agent_rate": 0.1, "penalty": 50.0}
    assert (learn_lookup(**wrong) > 0).all()
    assert 3 <= (learn_lookup(adapt_penalty=True, **wrong) > 0).sum() <= 5


def test_without_a_goal_leave_those_below_one_half_and_the_network_has_learned() -> None:
    program = trained()
    found = decore(penalty=0.5)(program, context())
    assert found.plan
    assert any(not torch.equal(t, program.state()[n]) for n, t in found.state().items())
    notes = " ".join(note for step in found.history for note in step.notes)
    assert "agents drop their channel" in notes
    small = compressc.lower(found)
    (images, _), *_ = context().task.train_batches(0, 0)
    # The theorem for new weights, too.
    torch.testing.assert_close(
        small.graph_module(*images), masked(found)(*images), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("mode", ["joint", "constraint"])
@pytest.mark.parametrize("sampling", ["image", "step"])
def test_the_goal_holds_and_the_network_learns_in_the_joint_mode_alone(mode, sampling) -> None:
    program = trained()
    found = decore(mode=mode, sampling=sampling, epochs=1)(program, context(macs=0.5))
    assert 0.35 < cost_of(found).macs / cost_of(program).macs <= 0.5
    moved = any(not torch.equal(t, program.state()[n]) for n, t in found.state().items())
    assert moved == (mode == "joint")


def test_the_lowest_agents_leave() -> None:
    program = trained()
    one = decore(mode="constraint", epochs=3)
    found = one(program, context(macs=0.6))
    agents = find_gated_units(program)
    weights = agents.by_group(train_agents(program, agents, one, context()).weights)
    for name, mask in found.plan.keep.items():
        assert weights[name][~mask].max() <= weights[name][mask].min()


def test_counts_are_multiples_and_at_least_one_unit_stays() -> None:
    program = trained().with_constraints(Constraints(multiple_of=4))
    found = decore(penalty=0.0, epochs=3)(program, context())
    counts = {name: int(mask.sum()) for name, mask in found.plan.keep.items()}
    assert counts == {"a": 4, "b": 4}, "without a penalty everything that may leave leaves"


def test_several_goals_need_one_training() -> None:
    program = trained()
    one = decore(mode="constraint", epochs=2)
    calls: list[str] = []
    watched = replace(context(macs=0.7), progress=lambda _d, _t, text: calls.append(text))
    wide = one(program, watched)
    assert calls
    calls.clear()
    narrow = one(program, replace(watched, goal=Goal(macs=0.4)))
    assert not calls
    assert cost_of(narrow).macs < cost_of(wide).macs


def test_progress_says_loss_metric_and_share_dropped() -> None:
    seen: list[str] = []
    program = make_program(seed=3)
    watched = replace(context(), progress=lambda _d, _t, text: seen.append(text))
    decore(epochs=2)(program, watched)
    for word in ("epoch 2 of 2", "loss", "% of the channels dropped", "search-validation"):
        assert word in seen[-1]


def test_a_higher_penalty_drops_less() -> None:
    dropped = []
    for penalty in (0.1, 1000.0):
        found = decore(mode="joint", penalty=penalty, epochs=3)(trained(), context())
        dropped.append(sum(int((~mask).sum()) for mask in found.plan.keep.values()))
    assert dropped[0] > dropped[1]


def test_the_controller_lowers_the_penalty_behind_the_schedule_and_raises_it_ahead() -> None:
    program = trained()
    agents = find_gated_units(program)
    control = PenaltyControl(program, agents, Goal(macs=0.5), first=6.9, penalty=10.0, steps=100)
    full = np.full(agents.count, 6.9)
    assert control.adapt(10.0, full, step=60) < 10.0
    assert control.adapt(10.0, 0 * full, step=20) > 10.0
    assert control.adapt(10.0, full, step=5) == pytest.approx(10.0)


def test_analysis_tells_useful_from_useless_channels() -> None:
    program = with_useless_channels()
    agents = find_gated_units(program)
    weights = np.linspace(1.0, 2.0, agents.count)
    start = sum(agents.sizes[: agents.groups.index("a")])
    weights[start + USELESS] = -1.0
    (row,) = analyse_agents(program, agents, weights, make_task(), shares=(3 / agents.count,))
    assert row.count == 3
    assert row.cost_of_lowest == 0
    assert row.cost_of_highest > 5
    notes = decore(mode="constraint", epochs=1, analysis=True)(program, context(macs=0.9)).history
    assert any("channels of the highest agents" in n for step in notes for n in step.notes)


def test_decided_zeros_stay_zero() -> None:
    program = with_useless_channels()
    pending = program.with_plan(Plan(zero={"b.weight": program.state()["b.weight"].numpy() != 0}))
    found = decore(epochs=1)(pending, context(macs=0.7))
    assert (found.state()["b.weight"][:, USELESS] == 0).all()


def test_a_loss_that_is_no_number_stops_with_the_last_good_state() -> None:
    class Spoilt:
        def __init__(self) -> None:
            self.task, self.calls = make_task(), 0

        def __getattr__(self, name):
            return getattr(self.task, name)

        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            self.calls += 1
            return self.task.loss(outputs, targets) * (float("nan") if self.calls > 12 else 1.0)

        def validate(self, module: nn.Module) -> float:
            return self.task.validate(module)

        def evaluate(self, module: nn.Module) -> float:
            return self.task.evaluate(module)

    program = trained()
    found = decore(epochs=5)(program, context(macs=0.5, task=Spoilt()))
    assert all(torch.isfinite(tensor).all() for tensor in found.state().values())
    notes = " ".join(note for step in found.history for note in step.notes)
    assert "1 of 5 epochs" in notes
    assert "the loss became nan in epoch 2" in notes


def test_what_it_refuses() -> None:
    program = trained()
    with pytest.raises(GoalError, match="needs a goal"):
        decore(mode="constraint")(program, context())
    with pytest.raises(DataError, match="needs data"):
        decore()(program, Context(Goal(macs=0.5)))
    pruned = program.with_plan(Plan(keep={"a": np.arange(8) > 3}))
    with pytest.raises(PlanError, match="decisions are pending"):
        decore()(pruned, context(macs=0.5))
    pinned = program.with_constraints(Constraints(keep=("*",)))
    with pytest.raises(PlanError, match="no channels that can leave"):
        decore()(pinned, context(macs=0.5))
    for wrong in (
        {"penalty": -1.0},
        {"agent_rate": 0.0},
        {"mode": "both"},
        {"floor": 2.0},
        {"sampling": "pixel"},
        {"patience": 2},
        {"sampling": "step", "baseline": True},
    ):
        with pytest.raises(GoalError):
            Decore(**wrong)


def test_a_recipe_runs_through_the_driver() -> None:
    torch.manual_seed(0)
    model = Net(True, 0.0).eval()
    result = compressc.compress(
        model,
        (torch.randn(2, 3, 8, 8),),
        goal=Goal(macs=0.6),
        passes=[decore(epochs=2), quick(epochs=1)],
        task=make_task(),
        settings=compressc.Settings(measure=False),
    )
    assert [row.name for row in result.report.passes] == ["decore", "finetune"]
    assert result.report.after.macs <= 0.6 * result.report.before.macs
    assert all(a.macs for a, _ in pairwise([result.report.before, result.report.after]))
