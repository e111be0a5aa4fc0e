import gzip
import struct

import numpy as np
import pytest

from compressc.datasets.opening import open_task
from compressc.errors import DataError
from compressc.models.checkpoints import Normalization


def write_idx(folder, packed: bool, parts=("train", "t10k"), count=120) -> None:
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = np.zeros((count, 28, 28), np.uint8)
    images[np.arange(count), labels] = 255
    for part in parts:
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
            content = head + values.tobytes()
            name = f"{part}-{kind}-ubyte"
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_packed_or_not(tmp_path, packed):
    write_idx(tmp_path, packed)
    task = open_task(tmp_path)
    assert task.input_shape == (1, 28, 28)
    assert len(task.data.test) == 120
    assert len(task.data.train) + len(task.data.val) == 120
    rows = task.data.test.images[:, 0].float().mean(2).argmax(1)
    assert rows.tolist() == task.data.test.labels.tolist()


def test_a_damaged_idx_file_is_an_error(tmp_path):
    write_idx(tmp_path, True)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz is damaged"):
        open_task(tmp_path)


def arrays(shape=(60, 8, 8, 3), classes=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, shape, np.uint8), np.arange(shape[0]) % classes


@pytest.mark.parametrize(
    "names",
    [("images", "labels"), ("x", "y"), ("train_images", "train_labels"), ("x_train", "y_train")],
)
def test_npz_files_with_the_usual_names(tmp_path, names):
    images, labels = arrays()
    np.savez(tmp_path / "d.npz", **dict(zip(names, (images, labels), strict=True)))
    task = open_task(tmp_path / "d.npz")
    assert task.input_shape == (3, 8, 8)
    assert [len(p) for p in (task.data.train, task.data.val, task.data.test)] == [42, 6, 12]
    flat = {image.tobytes() for image in images.transpose(0, 3, 1, 2)}
    assert {image.numpy().tobytes() for image in task.data.train.images} <= flat


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.arange(59)}, "60 images but labels of shape"),
        ({"labels": np.arange(60) % 3 - 1}, "label -1 is outside the 2 classes"),
        ({"labels": np.zeros(60)}, "labels are float64"),
        ({"images": np.zeros((60, 4))}, "images have shape"),
        ({"images": np.full((60, 8, 8), 7.0)}, "must lie in"),
        ({"labels": 2 * (np.arange(60) % 2)}, "no image of class 1"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, change, message):
    images, labels = arrays()
    np.savez(tmp_path / "d.npz", **{"images": images, "labels": labels, **change})
    with pytest.raises(DataError, match=message):
        open_task(tmp_path / "d.npz")


def test_files_that_are_something_else(tmp_path):
    (tmp_path / "d.npz").write_bytes(b"PK something")
    with pytest.raises(DataError, match=r"is no .npz of plain arrays"):
        open_task(tmp_path / "d.npz")
    (tmp_path / "d.csv").write_text("1,2")
    with pytest.raises(DataError, match="give a folder"):
        open_task(tmp_path / "d.csv")
    with pytest.raises(DataError, match="no such folder"):
        open_task(tmp_path / "nowhere")
    np.savez(tmp_path / "e.npz", pictures=np.zeros(3))
    with pytest.raises(DataError, match="holds pictures; expected train_images"):
        open_task(tmp_path / "e.npz")


def test_channels_and_normalisation_must_agree(tmp_path):
    images, labels = arrays()
    np.savez(tmp_path / "d.npz", images=images, labels=labels)
    with pytest.raises(DataError, match="3 channel"):
        open_task(tmp_path / "d.npz", normalization=Normalization((0.5,), (0.5,)))
    with pytest.raises(DataError, match="the images are 3x8x8, the model reads 1x8x8"):
        open_task(tmp_path / "d.npz", input_shape=(1, 8, 8))
