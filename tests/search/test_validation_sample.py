"""What a search may see of a task."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from compressc.errors import DataError
from compressc.search.validation_sample import count_validation, sample_validation
from compressc.store.identity import identify_task
from compressc.tasks.loaders import LoaderTask
from tests.search_kit import trained


def test_neither_training_nor_test_images_are_left():
    _, task = trained()
    found = sample_validation(task, 0, 0)
    assert len(found.data.test) == len(found.data.train) == 0
    assert torch.equal(found.data.val.images, task.data.val.images)
    with pytest.raises(ZeroDivisionError):
        found.evaluate(trained()[0].module())


def test_a_sample_is_part_of_the_validation_split_and_follows_the_seed():
    _, task = trained()
    first, again, other = (sample_validation(task, 50, seed) for seed in (0, 0, 1))
    assert count_validation(first) == 50
    assert torch.equal(first.data.val.images, again.data.val.images)
    assert not torch.equal(first.data.val.images, other.data.val.images)
    known = {image.numpy().tobytes() for image in task.data.val.images}
    assert {image.numpy().tobytes() for image in first.data.val.images} <= known
    assert count_validation(sample_validation(task, 10**6, 0)) == len(task.data.val)


def test_a_sample_does_not_carry_the_whole_with_it():
    _, task = trained()
    storage = sample_validation(task, 5, 0).data.val.images.untyped_storage()
    assert storage.nbytes() == 5 * 3 * 8 * 8


def loaders() -> LoaderTask:
    batch = (torch.randn(4, 3), torch.zeros(4))
    return LoaderTask([batch], [batch], [batch], torch.nn.functional.mse_loss, lambda _: 1.0, "m")


def test_other_tasks_are_used_as_they_are_or_sample_themselves():
    task = loaders()
    assert sample_validation(task, 0, 0) is task
    with pytest.raises(DataError, match=r"LoaderTask.*sample_validation"):
        sample_validation(task, 10, 0)

    @dataclass(frozen=True, eq=False)
    class Own(LoaderTask):
        def sample_validation(self, samples: int, seed: int) -> LoaderTask:
            return replace(self, metric_name=f"m of {samples} by {seed}")

    own = Own([], [], [], torch.nn.functional.mse_loss, lambda _: 1.0, "m")
    assert sample_validation(own, 10, 3).metric_name == "m of 10 by 3"


def test_data_are_told_apart():
    _, task = trained()
    val = task.data.val
    flipped = replace(task, data=replace(task.data, val=replace(val, labels=val.labels.flip(0))))

    def seen(one):
        return identify_task(one)

    assert len({seen(task), seen(flipped), seen(sample_validation(task, 9, 0))}) == 3
    assert (
        seen(sample_validation(task, 9, 0))
        == seen(sample_validation(task, 9, 0))
        != seen(sample_validation(task, 9, 1))
    )


def test_a_task_of_other_people_can_leave_its_other_splits_behind():
    class Slim(LoaderTask):
        def keep_validation(self) -> LoaderTask:
            return replace(self, train=[], test=[])

        def count_validation(self) -> int:
            return 4

    batch = (torch.randn(4, 3), torch.zeros(4))
    task = Slim([batch], [batch], [batch], torch.nn.functional.mse_loss, lambda _: 1.0, "m")
    held = sample_validation(task, 0, 0)
    assert (held.train, held.test, held.val) == ([], [], [batch])
    assert count_validation(held) == 4
    assert count_validation(loaders()) == 1000
