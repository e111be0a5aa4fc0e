import tarfile

import pytest
import torch

from compressc.datasets.opening import open_task
from compressc.errors import DataError
from compressc.tasks.protocol import Task


def sizes(task) -> list[int]:
    return [len(part) for part in (task.data.train, task.data.val, task.data.test)]


def test_parts_of_the_folder_are_the_splits(make_images):
    task = open_task(make_images("train", "valid", "test", count=5))
    assert isinstance(task, Task)
    assert sizes(task) == [10, 10, 10]
    assert task.classes == ("cat", "dog")
    assert task.input_shape == (3, 12, 12)
    for part in (task.data.train, task.data.val, task.data.test):
        assert torch.equal(part.images[:, :2, 0, 0].argmax(1), part.labels)


def test_missing_splits_are_carved_out_with_the_seed(make_images):
    folder = make_images(count=50)
    one, same, other = (open_task(folder, seed=seed) for seed in (1, 1, 2))
    assert sizes(one) == [72, 8, 20]
    assert torch.equal(one.data.test.images, same.data.test.images)
    assert not torch.equal(one.data.test.images, other.data.test.images)
    together = torch.cat([p.images for p in (one.data.train, one.data.val, one.data.test)])
    assert len(torch.unique(together, dim=0)) == 100


def test_an_archive_gives_what_the_folder_gives(make_images, tmp_path):
    folder = make_images("train", "test")
    with tarfile.open(tmp_path / "pets.tar.gz", "w:gz") as archive:
        archive.add(folder, "pets")
    one, other = open_task(folder), open_task(tmp_path / "pets.tar.gz")
    assert torch.equal(one.data.train.images, other.data.train.images)
    assert torch.equal(one.data.val.labels, other.data.val.labels)


def test_a_corrupt_image_among_good_ones_is_named_and_skipped(make_images):
    folder = make_images(count=60)
    bad = folder / "cat" / "007.png"
    bad.write_bytes(bad.read_bytes()[:45])
    task = open_task(folder)
    assert sum(sizes(task)) == 119
    assert task.notes == ("skipped: 1 of 120 images cannot be read (cat/007.png)",)


def test_more_than_one_percent_corrupt_images_are_an_error(make_images):
    folder = make_images(count=60)
    for name in ("007", "008"):
        (folder / "dog" / f"{name}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 of 120 images cannot be read \(dog/007.png, dog/008"):
        open_task(folder)


def test_images_are_brought_to_the_input_shape(make_images):
    task = open_task(make_images(count=20, side=20), input_shape=(1, 8, 8))
    assert task.data.train.images.shape[1:] == (1, 8, 8)


def test_different_sizes_need_an_input_shape(make_images):
    make_images(count=20, side=20, classes=("cat",))
    folder = make_images(count=20, side=16, classes=("dog",))
    with pytest.raises(DataError, match=r"cat/000.png is 20x20, dog/000.png 16x16"):
        open_task(folder)
    assert open_task(folder, input_shape=(3, 16, 16)).input_shape == (3, 16, 16)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no images found"):
        open_task(tmp_path)


def test_a_class_missing_from_a_split_is_named(make_images):
    make_images("train", count=20)
    folder = make_images("test", count=5, classes=("cat",))
    with pytest.raises(DataError, match=r"pets, test: no image of class dog"):
        open_task(folder)


def test_a_damaged_archive_is_an_error(make_images, tmp_path):
    path = tmp_path / "pets.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(make_images(), "pets")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="not a readable tar archive"):
        open_task(path)
