from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.datasets.opening import open_task
from compressc.errors import DataError
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import DataSet, Labeled
from compressc.tasks.classification import ClassificationTask
from compressc.tasks.loaders import LoaderTask, mean_of
from compressc.tasks.protocol import Task, require_task
from compressc.tasks.training_length import count_training_steps


def labeled(count: int, seed: int) -> Labeled:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 50, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    images[torch.arange(count), 0, labels] = 255
    return Labeled(images, labels)


def make_task(**changes) -> ClassificationTask:
    data = DataSet("stripes", labeled(33, 0), labeled(9, 1), labeled(12, 2), 0)
    return ClassificationTask(
        data, ("a", "b", "c"), Normalization((0.5,), (0.25,)), batch_size=16, **changes
    )


class Rows(nn.Module):
    """Finds the bright row; ``shift`` makes it wrong for some classes."""

    def __init__(self, wrong: bool = False, classes: int = 3, channels: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.eye(6)[:classes].flip(0) if wrong else torch.eye(6)[:classes]
        )
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.channels - 1].mean(2) @ self.weight.T


def test_accuracy_is_that_of_the_split():
    task = make_task()
    assert isinstance(task, Task)
    assert task.evaluate(Rows()) == 100
    assert task.evaluate(Rows(wrong=True)) == pytest.approx(100 / 3)
    blind = Labeled(task.data.test.images, torch.zeros_like(task.data.test.labels))
    data = DataSet("x", task.data.train, task.data.val, blind, 0)
    swapped = ClassificationTask(data, task.classes, task.normalization)
    assert swapped.validate(Rows()) == 100
    assert swapped.evaluate(Rows()) == pytest.approx(100 / 3)


def test_evaluation_leaves_the_mode_as_it_was():
    module = Rows().train()
    make_task().evaluate(module)
    assert module.training


def test_batches_follow_seed_and_epoch():
    task = make_task()
    batches = list(task.train_batches(0, 1))
    assert [len(targets) for _, targets in batches] == [16, 16]  # the last would be one image
    (first,), targets = batches[0]
    assert first.dtype == torch.float32
    assert first.max() == pytest.approx((1 - 0.5) / 0.25)
    assert torch.equal(first[:, 0].mean(2).argmax(1), targets)
    (again,), _ = next(task.train_batches(0, 1))
    assert torch.equal(first, again)
    for other in (task.train_batches(1, 1), task.train_batches(0, 2)):
        assert not torch.equal(next(other)[0][0], first)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 18, 32, 33])
def test_the_number_of_batches_is_known_before_they_are_drawn(count):
    task = make_task()
    task = replace(task, data=replace(task.data, train=labeled(count, 0)))
    drawn = list(task.train_batches(0, 1))
    assert task.train_steps() == len(drawn) == count_training_steps(task, 1, "test")


def test_loaders_are_counted_where_they_do_not_say_how_long_they_are():
    class Stream:
        def __iter__(self):
            return iter([(torch.zeros(2, 3), torch.zeros(2))] * 5)

    for loader, known in ((list(Stream()), 5), (Stream(), None)):
        task = LoaderTask(loader, [], [], nn.functional.mse_loss, mean_of(torch.eq), "m")
        assert task.train_steps() == known
        assert count_training_steps(task, 0, "test") == 5


def test_calibration_takes_each_image_once_and_no_augmentation():
    def fail(images, generator):
        raise AssertionError("augmented")

    task = make_task(augmentation=fail)
    batches = [inputs[0] for inputs in task.calibration_batches(20, 0)]
    assert [len(batch) for batch in batches] == [16, 4]
    assert len(torch.unique(torch.cat(batches), dim=0)) == 20
    assert sum(len(x) for (x,) in task.calibration_batches(500, 0)) == 33


def test_the_metadata_state_how_to_feed_the_network():
    assert make_task().metadata == {
        "compressc.data": "stripes",
        "compressc.input_shape": "1 6 6",
        "compressc.normalization.mean": "0.5",
        "compressc.normalization.std": "0.25",
        "compressc.classes": "a\nb\nc",
    }


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (Rows(), (1, 6, 6), None),
        (Rows(classes=2), (1, 6, 6), "labels go up to 2, but the model has 2 classes"),
        (Rows(channels=3), (3, 6, 6), "1 channel.*the model reads 3"),
        (Rows(), (1, 6, 9), "6x6, the model reads 6x9"),
    ],
)
def test_data_and_model_must_fit(module, shape, message):
    program = compressc.capture(module, (torch.randn(2, *shape),))
    if message is None:
        make_task().check_model(program)
    else:
        with pytest.raises(DataError, match=message):
            make_task().check_model(program)


def test_a_missing_or_incomplete_task_is_one_line():
    class Half:
        metric_name = "m"

        def evaluate(self, module):
            return 0.0

    with pytest.raises(DataError, match="calibrate needs data"):
        require_task(None, "calibrate")
    with pytest.raises(DataError, match="Half lacks train_batches"):
        require_task(Half(), "calibrate")
    Half.train_batches = Half.calibration_batches = Half.loss = Half.evaluate
    Half.validate = None
    with pytest.raises(DataError, match="Half lacks validate"):
        require_task(Half(), "calibrate")
    assert require_task(make_task(), "calibrate")


def test_regression_through_the_python_api():
    x = torch.randn(20, 3)
    batch = [(x, 2 * x.sum(1, keepdim=True))]
    task = LoaderTask(
        batch,
        batch,
        batch,
        nn.functional.mse_loss,
        mean_of(lambda y, t: -(y - t).square().mean(1)),
        "negative squared error",
    )
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(2.0)
    assert task.evaluate(model) == pytest.approx(0, abs=1e-9)
    (inputs,), targets = next(task.train_batches(0, 0))
    loss = task.loss(model(inputs) + 1, targets)
    assert loss.item() == pytest.approx(1, abs=1e-5)


def test_segmentation_with_a_metric_that_is_no_mean():
    """Mean intersection over union needs counts over all batches."""

    def mean_iou(pairs):
        both, either = torch.zeros(2), torch.zeros(2)
        for logits, mask in pairs:
            found = logits.argmax(1)
            for label in (0, 1):
                both[label] += ((found == label) & (mask == label)).sum()
                either[label] += ((found == label) | (mask == label)).sum()
        return float((both / either).mean())

    images = torch.rand(6, 1, 4, 4)
    masks = (images[:, 0] > 0.5).long()
    halves = [(images[:2], masks[:2]), (images[2:], masks[2:])]
    task = LoaderTask(halves, halves, halves, nn.functional.cross_entropy, mean_iou, "mean IoU")
    model = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
        model.bias.copy_(torch.tensor([0.5, -0.5]))
    assert task.validate(model) == 1.0
    with torch.no_grad():
        model.bias.copy_(torch.tensor([0.0, 100.0]))
    assert task.validate(model) == pytest.approx(float(masks.float().mean()) / 2)
    (inputs,), targets = next(task.train_batches(0, 0))
    assert task.loss(model(inputs), targets).dim() == 0


@pytest.mark.parametrize("item", [torch.zeros(2), (torch.zeros(2), 1, 2), ("a", 1)])
def test_loaders_that_give_no_pairs(item):
    task = LoaderTask([item], [item], [item], nn.functional.mse_loss, mean_of(torch.add), "m")
    with pytest.raises(DataError, match="data loader"):
        next(task.train_batches(0, 0))


def test_loading_and_augmenting_outrun_training(tmp_path):
    """Training runs at hundreds of images per second; batches must come ten times as fast."""
    import time

    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (4000, 3, 32, 32), np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(4000) % 10)
    task = open_task(tmp_path / "d.npz")
    started = time.process_time()
    count = sum(len(targets) for _, targets in task.train_batches(0, 0))
    assert count / (time.process_time() - started) > 3000
