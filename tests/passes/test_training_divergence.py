"""A loss that is no number any more: stop, keep what was good, say so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from compressc.tasks.classification import ClassificationTask
from tests.passes.training_kit import (
    assert_same_weights,
    make_context,
    make_program,
    make_task,
    quick,
    read_standing,
)

BATCHES = 8


def spoil(task: ClassificationTask, when: Callable[[int], float]) -> ClassificationTask:
    """Return the task with ``when(step)`` added to its loss."""
    steps = 0

    class Spoilt(type(task)):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            nonlocal steps
            steps += 1
            return super().loss(outputs, targets) * (1 + when(steps - 1))

    return Spoilt(task.data, task.classes, task.normalization, task.augmentation, task.batch_size)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_best_epoch_before_it_comes_back(value, tmp_path):
    program = make_program()
    seen: list[str] = []
    task = spoil(make_task(), lambda step: value if step == 5 * BATCHES + 3 else 0.0)
    context = make_context(tmp_path, task=task, progress=lambda *words: seen.append(words[2]))
    trained = quick(epochs=8)(program, context)
    first, second = trained.history[-1].notes
    assert first.startswith("5 of 8 epochs, the best was 5")
    assert second.startswith("training stopped: the loss became nan in epoch 6")
    assert "the weights are those of epoch 5; give a lower learning rate than 0.1" in second
    assert "stopping with the weights of epoch 5" in seen[-1]
    assert all(torch.isfinite(tensor).all() for tensor in trained.state().values())
    (file,) = tmp_path.iterdir()
    standing = read_standing(file)
    assert standing["epoch"] == standing["kept_epoch"] == 5
    for name, tensor in trained.state().items():
        assert torch.equal(tensor, standing["kept"][name])


def test_divergence_at_once_gives_back_what_came_in():
    program, context = make_program(), make_context()
    trained = quick(epochs=3, learning_rate=1e30)(program, context)
    assert_same_weights(trained, program)
    first, second = trained.history[-1].notes
    assert "none better than before them" in first
    assert "the loss became" in second
    assert "the weights are those before training; give a lower learning rate than 1e+30" in second


def test_it_stops_within_the_epoch():
    task = spoil(make_task(train=32 * 100), lambda step: float("nan") if step == 3 else 0.0)
    seen: list[int] = []
    context = make_context(task=task, progress=lambda done, *_: seen.append(done))
    quick(epochs=1)(make_program(), context)
    assert max(seen) < 50


def test_weights_that_went_bad_in_the_last_step_are_not_kept():
    class Steep(ClassificationTask):
        """At the last batch the loss is a number, but its gradient is not."""

        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            loss = super().loss(outputs, targets)
            if len(targets) == 8:
                loss = loss + (loss - loss.detach()).sqrt()
            return loss

    task = make_task(train=72)
    steep = Steep(task.data, task.classes, task.normalization, None, task.batch_size)
    program = make_program()
    trained = quick(epochs=1)(program, make_context(task=steep))
    assert_same_weights(trained, program)
    assert "weights became infinite in the last steps of epoch 1" in trained.history[-1].notes[1]
