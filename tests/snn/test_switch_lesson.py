"""Switchers and network learn in turn, the right way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from compressc.passes.gates.weight_gates import GatedWeights
from compressc.passes.snn.settings import Mode
from compressc.passes.snn.sparsity_aim import SparsityAim
from compressc.passes.snn.switch_lesson import SwitchLesson
from compressc.passes.snn.switched_layers import find_switched_layers
from compressc.passes.snn.switchers import Switchers
from compressc.passes.training.descent import Descent
from compressc.passes.training.learner import Learner
from compressc.passes.training.objectives import TaskLoss
from compressc.passes.training.precision import Precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings
from tests.snn.snn_kit import make_program, make_task, quick

RATE = 0.05


class Parts:
    """A lesson, and those who learn from it."""

    def __init__(self, mode: Mode = "connection", every: int = 3, sparsity: float = 0.0) -> None:
        program, task = make_program(), make_task()
        layers, _ = find_switched_layers(program, "fc", mode)
        settings = TrainingSettings(
            learning_rate=RATE, schedule="plateau", momentum=0.0, weight_decay=0.0
        )
        processes = Processes()
        self.learner = Learner(program, settings, 100, processes, Precision("cpu", False))
        torch.manual_seed(5)
        self.switchers = Switchers(layers, quick(mode=mode))
        self.descent = Descent(self.switchers, settings, 100)
        self.lesson = SwitchLesson(
            task,
            TaskLoss(task),
            processes,
            self.learner,
            self.switchers,
            self.descent,
            [SparsityAim(program, sparsity, layers)] if sparsity else [],
            "weights",
            every,
            4,
        )
        self.batches = list(task.train_batches(0, 0))

    def weights(self) -> dict[str, Tensor]:
        return {name: each.clone() for name, each in self.learner.module.state_dict().items()}

    def switcher_weights(self) -> dict[str, Tensor]:
        return {name: each.clone() for name, each in self.switchers.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(each, other[name]) for name, each in one.items())


@pytest.mark.parametrize("mode", ["connection", "neuron"])
def test_in_even_epochs_switchers_learn_and_in_odd_ones_the_network(mode: Mode) -> None:
    parts = Parts(mode)
    for epoch in range(4):
        network, switchers = parts.weights(), parts.switcher_weights()
        parts.lesson.begin_epoch(epoch)
        for batch in parts.batches:
            parts.lesson.step(batch)
        parts.lesson.end_epoch()
        assert same(parts.weights(), network) == (epoch % 2 == 0)
        assert same(parts.switcher_weights(), switchers) == (epoch % 2 == 1)
        assert parts.lesson.is_finite()


@pytest.mark.parametrize("mode", ["connection", "neuron"])
def test_a_step_of_the_switchers_is_gradient_descent_on_the_mean_loss(mode: Mode) -> None:
    parts = Parts(mode, every=3)
    twin = Parts(mode, every=3)
    parts.lesson.begin_epoch(0)
    for batch in parts.batches[:3]:
        parts.lesson.step(batch)

    # The same, spelled out: factors in the graph, one loss over all three batches.
    module = make_program().module()
    assert isinstance(module, fx.GraphModule)
    gates = GatedWeights(module, [layer.weight for layer in twin.switchers.layers])
    factors = twin.switchers(module.state_dict())
    layers = zip(twin.switchers.layers, factors, strict=True)
    gates.set_factors({layer.weight: layer.fit(each) for layer, each in layers})
    losses = [nn.functional.cross_entropy(module(*x), y) for x, y in twin.batches[:3]]
    torch.stack(losses).mean().backward()
    with torch.no_grad():
        for each in twin.switchers.parameters():
            assert each.grad is not None
            each -= RATE * each.grad
    moved = 0.0
    fresh = Parts(mode).switcher_weights()
    for name, expected in twin.switchers.state_dict().items():
        torch.testing.assert_close(
            parts.switchers.state_dict()[name], expected, rtol=1e-4, atol=1e-6
        )
        moved += float((expected - fresh[name]).abs().sum())
    assert moved > 1e-3


def test_what_is_left_over_at_the_end_of_an_epoch_is_learned_from() -> None:
    parts = Parts(every=100)
    before = parts.switcher_weights()
    parts.lesson.begin_epoch(0)
    for batch in parts.batches:
        parts.lesson.step(batch)
    assert same(parts.switcher_weights(), before)
    parts.lesson.end_epoch()
    assert not same(parts.switcher_weights(), before)


def test_in_odd_epochs_factors_stay_and_are_what_is_judged_and_kept() -> None:
    parts = Parts(sparsity=0.5)
    for epoch in range(2):
        parts.lesson.begin_epoch(epoch)
        kept = [each.clone() for each in parts.lesson.outcome()["factors"]]
        for batch in parts.batches:
            parts.lesson.step(batch)
        parts.lesson.end_epoch()
    outcome = parts.lesson.outcome()
    for one, other in zip(kept, outcome["factors"], strict=True):
        assert torch.equal(one, other)
    assert [len(epoch) for epoch in outcome["histograms"]] == [3, 3]
    for epoch in outcome["histograms"]:
        for levels in epoch:
            assert sum(levels) == pytest.approx(1.0)


def test_a_layer_whose_switcher_says_nothing_but_zero_stays_as_it_is() -> None:
    parts = Parts()
    silent: Any = parts.switchers.each[1]
    with torch.no_grad():
        silent.decoder[0].bias.fill_(-1e3)
    parts.lesson.begin_epoch(0)
    losses = [float(parts.lesson.step(batch)) for batch in parts.batches]
    parts.lesson.end_epoch()
    assert len(set(losses)) > 1
    assert parts.lesson.judge() > 0
    # The others learned, this one could not.
    assert float(silent.decoder[0].bias) == -1e3


def test_the_rate_falls_where_the_loss_stays() -> None:
    parts = Parts()
    for _ in range(4):
        parts.descent.step(torch.tensor(1.0))
        parts.descent.end_epoch(Processes())
    assert parts.descent.rate == pytest.approx(RATE / 3)
