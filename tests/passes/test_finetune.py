"""Fine-tuning on a task that is learned in a second."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass
from compressc.coupling.graph import cost_of
from compressc.errors import DataError, PlanError
from compressc.goal import Goal
from compressc.passes.finetune import Finetune
from compressc.passes.magnitude import Magnitude
from compressc.passes.sparsify import Sparsify
from compressc.tasks.loaders import LoaderTask, mean_of
from tests.passes.training_kit import (
    assert_same_weights,
    differ,
    make_context,
    make_program,
    make_task,
    quick,
)


def test_it_is_a_registered_pass_that_wants_a_lowered_program():
    one = find_pass("finetune")()
    assert isinstance(one, Pass)
    assert one.declares.runs_on == "lowered"
    assert one == Finetune()
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ema": 0.9},
        {"optimizer": "adamw", "learning_rate": 0.01},
        {"schedule": "cosine"},
        {"clip_norm": 1.0, "channels_last": False},
    ],
    ids=str,
)
def test_it_learns_and_says_how_it_went(fields):
    program, task = make_program(), make_task()
    before = task.validate(program.module())
    trained = quick(**{"epochs": 6, **fields})(program, make_context(task=task))
    after = task.validate(trained.module())
    assert after >= before + 30
    (note,) = trained.history[-1].notes
    assert note.startswith("6 of 6 epochs, the best was ")
    assert f"search-validation {before:.2f} before, {after:.2f} after" in note
    assert note.endswith("images/s in float32")


def test_the_program_that_came_in_and_the_random_state_stay_as_they_are():
    program = make_program()
    state = {name: tensor.clone() for name, tensor in program.state().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained = quick()(program, make_context())
    assert torch.equal(torch.rand(3), expected)
    for name, tensor in program.state().items():
        assert torch.equal(tensor, state[name])
    assert differ(trained, program)
    assert program.history != trained.history


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    program = make_program()
    first = quick()(program, make_context(seed=3))
    torch.manual_seed(99)
    assert_same_weights(quick()(program, make_context(seed=3)), first)
    assert differ(quick()(program, make_context(seed=4)), first)


def test_the_test_split_is_never_touched():
    task = make_task()
    task = replace(task, data=replace(task.data, test=None))
    quick(epochs=1)(make_program(), make_context(task=task))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_zeros_that_were_decided_stay_zero(optimizer):
    decided = Sparsify(sparsity=0.7, skip_first_last=False)(make_program(), Context())
    lowered = compressc.lower(decided)
    assert lowered.sparse_weights
    one = quick(optimizer=optimizer, learning_rate=0.01, ema=0.5, clip_norm=1.0)
    trained = one(lowered, make_context())
    assert differ(trained, lowered)
    for name, tensor in lowered.state().items():
        zeros = tensor == 0
        moved = trained.state()[name] != tensor
        if name in lowered.sparse_weights:
            assert zeros.float().mean() > 0.6
            assert not moved[zeros].any()
            assert moved[~zeros].any()
    # Without the names, the same zeros learn.
    free = one(replace(lowered, sparse_weights=()), make_context())
    name = lowered.sparse_weights[0]
    assert (free.state()[name][lowered.state()[name] == 0] != 0).any()


def test_batch_norms_learn_and_follow_their_inputs():
    program = make_program()
    trained = quick(epochs=1)(program, make_context())
    for name in ("norm.running_mean", "norm.running_var", "norm.weight"):
        assert not torch.equal(trained.state()[name], program.state()[name])


def test_a_pruned_network_learns():
    context = make_context()
    goal = replace(context, goal=Goal(macs=0.6))
    lowered = compressc.lower(Magnitude()(make_program(), goal))
    trained = quick(epochs=6)(lowered, context)
    assert cost_of(trained) == cost_of(lowered)
    assert context.task.validate(trained.module()) >= 50


def test_ruined_weights_do_not_come_back():
    program = quick(epochs=8)(make_program(), make_context())
    context = make_context()
    good = context.task.validate(program.module())
    # A rate at which nothing can be learned, but nothing overflows either.
    worse = quick(epochs=2, learning_rate=30.0, clip_norm=1.0)(program, context)
    assert context.task.validate(worse.module()) == good
    assert_same_weights(worse, program)
    assert "none better than before them" in worse.history[-1].notes[0]


class Scripted:
    """A task whose metric goes as told."""

    metric_name = "scripted"

    def __init__(self, metrics: list[float]) -> None:
        self._inner, self._metrics = make_task(train=64), list(metrics)
        self.seen: list[dict[str, Tensor]] = []
        self.train_batches, self.loss = self._inner.train_batches, self._inner.loss

    def validate(self, module: nn.Module) -> float:
        assert not module.training
        self.seen.append({n: t.clone() for n, t in module.state_dict().items()})
        return self._metrics[len(self.seen) - 1]

    def calibration_batches(self, samples, seed):
        raise AssertionError("not needed")

    def evaluate(self, module: nn.Module) -> float:
        raise AssertionError("the test split is not for passes")


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        ([1, 2, 4, 3, 3], 2),
        ([1, 4, 4, 3, 4], 4),  # the latest of equals
        ([5, 1, 2, 3, 4], 0),  # training ruined it
        ([95.9, 92, 91, 93, 94], 4),  # the network that came in had seen these images
        ([95.9, 92, 91, 93, 90], 3),
        ([1, 1, 1, 1, 1], 4),
        ([1, 2, float("nan"), 1, 0], 1),
        ([float("nan"), 1, 2, 1, 0], 2),
    ],
)
def test_the_best_epoch_is_what_comes_back(metrics, best):
    task = Scripted(metrics)
    trained = quick(epochs=4)(make_program(), make_context(task=task))
    for name, tensor in trained.state().items():
        assert torch.equal(tensor, task.seen[best][name])


def test_patience_stops_early():
    task = Scripted([1, 3, 2, 2, 5, 5, 5])
    trained = quick(epochs=6, patience=2)(make_program(), make_context(task=task))
    assert len(task.seen) == 4
    assert "3 of 6 epochs, the best was 1" in trained.history[-1].notes[0]
    assert trained.history[-1].notes[1] == "stopped early: no better epoch in 2"


def test_progress_names_epoch_loss_and_metric_and_stays_within_its_total():
    seen: list[tuple[int, int, str]] = []
    context = make_context(progress=lambda *words: seen.append(words))
    quick(epochs=2)(make_program(), context)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][:2] == (16, 16)
    assert "epoch 2 of 2, loss " in seen[-1][2]
    assert "search-validation" in seen[-1][2]


def test_a_regression_task_is_learned_as_well():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 6, generator=generator)
    targets = inputs @ torch.randn(6, 2, generator=generator)
    batches = list(zip(inputs.split(32), targets.split(32), strict=True))
    task = LoaderTask(
        batches,
        batches,
        [],
        nn.functional.mse_loss,
        mean_of(lambda outputs, wanted: -(outputs - wanted).square().mean(1)),
        "negative squared error",
    )
    program = compressc.capture(nn.Linear(6, 2).eval(), (torch.randn(2, 6),))
    trained = quick(epochs=5)(program, make_context(task=task))
    assert task.validate(trained.module()) > -0.05 > task.validate(program.module())


def test_what_is_missing_is_named():
    with pytest.raises(DataError, match="finetune needs data"):
        quick()(make_program(), Context())
    with pytest.raises(PlanError, match=r"finetune trains what is left.*lower"):
        quick()(Magnitude()(make_program(), Context(Goal(macs=0.6))), make_context())
    empty = LoaderTask([], [], [], nn.functional.mse_loss, mean_of(lambda a, b: a), "m")
    with pytest.raises(DataError, match="gives no batch"):
        quick()(make_program(), make_context(task=empty))
