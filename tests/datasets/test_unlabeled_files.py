"""Pictures and arrays without labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import compressc
from compressc.datasets.opening import open_task
from compressc.errors import DataError
from compressc.models.checkpoints import Normalization
from compressc.tasks.classification import ClassificationTask
from compressc.tasks.unlabeled import UnlabeledTask
from tests.passes.training_kit import make_program


def write_pictures(folder, count=12, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


@pytest.mark.parametrize("places", [("",), ("photos",), ("train", "test")])
def test_pictures_without_class_folders_have_no_labels(tmp_path, places):
    for place in places:
        write_pictures(tmp_path / place)
    task = open_task(tmp_path, input_shape=(3, 8, 8), original=make_program())
    assert isinstance(task, UnlabeledTask)
    task.check_model(make_program())
    assert sum(len(part[0]) for part in (task.train, task.val, task.test)) == 12 * len(places)


def test_a_stray_picture_beside_class_folders_takes_no_labels_away(tmp_path):
    for name in ("cat", "dog"):
        write_pictures(tmp_path / name, 20)
    write_pictures(tmp_path, 1)
    task = open_task(tmp_path, input_shape=(3, 8, 8), original=make_program())
    assert isinstance(task, ClassificationTask)
    assert task.classes == ("cat", "dog")


def test_without_an_original_there_is_nothing_to_compare_with(tmp_path):
    write_pictures(tmp_path)
    with pytest.raises(DataError, match="can only be compared with the original"):
        open_task(tmp_path, input_shape=(3, 8, 8))


def test_too_few_are_told(tmp_path):
    write_pictures(tmp_path, 5)
    with pytest.raises(DataError, match="5 sample"):
        open_task(tmp_path, input_shape=(3, 8, 8), original=make_program())


def test_floats_of_an_npz_are_what_the_model_reads(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 3, 8, 8))
    np.savez(tmp_path / "x.npz", x)
    task = open_task(tmp_path / "x.npz", original=make_program())
    given = torch.cat([inputs[0] for inputs in task.calibration_batches(99, 0)])
    assert given.dtype == torch.float32
    assert set(given[:, 0, 0, 0].tolist()) <= set(x[:, 0, 0, 0].astype(np.float32).tolist())


def test_bytes_of_an_npz_are_pictures_and_are_normalised(tmp_path):
    np.savez(tmp_path / "x.npz", np.full((30, 8, 8, 3), 255, np.uint8))
    normalization = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    task = open_task(tmp_path / "x.npz", normalization=normalization, original=make_program())
    (given,) = next(task.calibration_batches(5, 0))
    assert given.shape == (5, 3, 8, 8)
    assert torch.all(given == 2)


def test_several_inputs_come_by_name(tmp_path):
    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 3)

        def forward(self, a, b):
            return self.fc(a) + self.fc(b)

    program = compressc.capture(Pair().eval(), (torch.randn(2, 4), torch.randn(2, 4)))
    a = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", a=a, b=-a)
    task = open_task(tmp_path / "x.npz", original=program)
    for first, second in task.calibration_batches(20, 0):
        assert torch.equal(first, -second)
    np.savez(tmp_path / "y.npz", a=a)
    with pytest.raises(DataError, match="lacks b"):
        open_task(tmp_path / "y.npz", original=program)


def test_an_npz_with_labels_keeps_them(tmp_path):
    images = np.zeros((60, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(60) % 3)
    task = open_task(tmp_path / "x.npz", original=make_program())
    assert isinstance(task, ClassificationTask)
