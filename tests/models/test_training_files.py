"""The data files of the training scripts, and the scripts themselves on tiny sets."""

import gzip
import json
import struct
import tarfile
from pathlib import Path

import pytest
import torch

from compressc.models import train_cifar, train_mnist
from compressc.models.cifar_data import load_cifar
from compressc.models.mnist_data import load_mnist, read_idx
from compressc.models.registry import architectures


def idx_bytes(values: torch.Tensor) -> bytes:
    shape = struct.pack(f">{values.dim()}I", *values.shape)
    return bytes((0, 0, 8, values.dim())) + shape + bytes(values.flatten().tolist())


def write_mnist(folder: Path, packed: bool) -> Path:
    for part, count in (("train", 240), ("t10k", 20)):
        labels = (torch.arange(count) % 10).to(torch.uint8)
        images = torch.zeros(count, 28, 28, dtype=torch.uint8)
        images[torch.arange(count), 4 + 2 * labels.long()] = 255
        contents = {"images-idx3": idx_bytes(images), "labels-idx1": idx_bytes(labels)}
        for kind, content in contents.items():
            if packed:
                (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
            else:
                (folder / f"{part}-{kind}-ubyte").write_bytes(content)
    return folder


def write_cifar(folder: Path, train: int = 20) -> Path:
    image_module = pytest.importorskip("PIL.Image", reason="the images are made with Pillow")
    for part, count in (("train", train), ("test", 4)):
        for label, name in enumerate(("cat", "ship")):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                colour = (200 * label, 3 * i, 100)
                image = image_module.new("RGB", (32, 32), colour)
                image.save(folder / part / name / f"{i:04d}.jpg", quality=95)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read_packed_or_not(tmp_path, packed):
    data = load_mnist(write_mnist(tmp_path, packed))
    assert [len(part) for part in (data.train, data.val, data.test)] == [220, 20, 20]
    assert data.train.images.shape[1:] == (1, 28, 28)
    assert data.train.images.dtype == torch.uint8
    rows = data.test.images[:, 0].float().mean(2).argmax(1)
    assert torch.equal(rows, 4 + 2 * data.test.labels)
    assert data.normalization().mean == pytest.approx((1 / 28,), abs=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x05", "is no IDX file of unsigned bytes"),
        (b"\x00\x00", "is no IDX file of unsigned bytes"),
        (b"\x00\x00\x08\x03\x00\x00", "is cut short within its header"),
        (
            b"\x00\x00\x08\x01\x00\x00\x00\x04\x05",
            r"holds 1 elements, but its header states \(4,\)",
        ),
    ],
)
def test_a_bad_idx_file_is_named(tmp_path, content, message):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(ValueError, match=f"f {message}"):
        read_idx(tmp_path / "f")


def test_a_damaged_archive_a_missing_file_and_a_mismatch_are_named(tmp_path):
    (tmp_path / "g.gz").write_bytes(gzip.compress(b"some content")[:-9])
    with pytest.raises(ValueError, match=r"g\.gz is damaged"):
        read_idx(tmp_path / "g")
    with pytest.raises(FileNotFoundError, match=r"neither .*h nor h\.gz exists"):
        read_idx(tmp_path / "h")
    write_mnist(tmp_path, packed=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(torch.zeros(3, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="one label for each image"):
        load_mnist(tmp_path)


def test_a_folder_and_an_archive_of_it_give_the_same_split(tmp_path):
    folder = write_cifar(tmp_path / "cifar")
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.add(folder, "anything")
    loose, packed = load_cifar(folder), load_cifar(tmp_path / "cifar.tar.gz")
    assert [len(part) for part in (loose.train, loose.val, loose.test)] == [36, 4, 8]
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(loose, part).images, getattr(packed, part).images)
        assert torch.equal(getattr(loose, part).labels, getattr(packed, part).labels)
    reddish = loose.test.images[:, 0].float().mean((1, 2)) > 100
    assert torch.equal(reddish, loose.test.labels == 1)


def test_bad_image_sets_are_named(tmp_path):
    folder = write_cifar(tmp_path / "cifar")
    (folder / "train" / "cat" / "0003.jpg").write_bytes(b"\xff\xd8 cut")
    with pytest.raises(ValueError, match=r"train/cat/0003\.jpg cannot be read as an image"):
        load_cifar(folder)
    (tmp_path / "no.tar").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"no\.tar is no readable tar archive"):
        load_cifar(tmp_path / "no.tar")
    with pytest.raises(FileNotFoundError, match="neither a folder nor a tar archive"):
        load_cifar(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="needs train/<class>"):
        load_cifar(tmp_path / "empty")


def test_the_mnist_script_writes_a_checkpoint_and_its_record(tmp_path):
    write_mnist(tmp_path, packed=True)
    output = tmp_path / "out" / "lenet5.pt"
    train_mnist.main(
        [
            *("--data", str(tmp_path), "--arch", "lenet5", "--seeds", "3", "4", "--epochs", "1"),
            *("--output", str(output), "--state", str(tmp_path / "state")),
        ]
    )
    record = json.loads(output.with_suffix(".json").read_text())
    assert record["command"].startswith("python -m compressc.models.train_mnist --data")
    assert [run["seed"] for run in record["runs"]] == [3, 4]
    assert record["weights_dtype"] == "float16"


def test_the_cifar_script_trains_in_bfloat16(tmp_path):
    folder = write_cifar(tmp_path / "cifar", train=80)
    output = tmp_path / "resnet20.pt"
    train_cifar.main(
        [
            *("--data", str(folder), "--arch", "resnet20", "--precision", "bfloat16"),
            *("--epochs", "1", "--output", str(output), "--state", str(tmp_path / "state")),
        ]
    )
    record = json.loads(output.with_suffix(".json").read_text())
    assert record["dataset"] == "CIFAR-10-JPEG"
    assert record["recipe"]["precision"] == "bfloat16"
    assert record["split"] == {"train": 144, "search_validation": 16, "test": 8, "seed": 0}


def test_less_than_one_batch_of_images_is_refused(tmp_path):
    folder = write_cifar(tmp_path / "cifar")
    output = tmp_path / "o.pt"
    with pytest.raises(SystemExit, match="error: CIFAR-10-JPEG has 36 images to train on, fewer"):
        train_cifar.main(["--data", str(folder), "--arch", "resnet20", f"--output={output}"])
    assert not output.exists()


def test_a_script_ends_with_one_line_when_data_are_missing(tmp_path):
    with pytest.raises(SystemExit, match="error: neither "):
        train_mnist.main(
            ["--data", str(tmp_path), "--arch", "lenet5", "--output", str(tmp_path / "o.pt")]
        )


def test_every_cifar_network_can_be_trained_by_the_script(capsys):
    with pytest.raises(SystemExit):
        train_cifar.main(["--help"])
    shown = capsys.readouterr().out
    names = {a.name for a in architectures().values() if a.input_shape == (3, 32, 32)}
    assert {"resnet20", "resnet56", "vgg16_cifar", "densenet40", "googlenet_cifar"} <= names
    assert all(name in shown for name in names)
