"""Bad data: one clear line and no file, or a note where the run can go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import TINY, Cli
from tests.cli.test_data import write_images
from tests.cli.test_errors import expect_one_line

WORDS = (*TINY, "--target-flops", "0.5", "--multiple-of", "4", "--no-measure", "-o", "small.onnx")

LOADERS = """
import torch


def batches(channels, label):
    images = torch.randn(6, channels, 8, 8)
    return [(images, torch.tensor([0, 1, 2, 3, 0, label]))]


def label():
    return (batches(3, 9),) * 3


def channels():
    return (batches(1, 0),) * 3


def late():
    return batches(3, 0) + batches(3, 9), batches(3, 0), batches(3, 0)


def nothing():
    return [], batches(3, 0), batches(3, 0)
"""


def write_folder(folder: Path, parts: tuple[str, ...] = ("",), count: int = 30) -> Path:
    generator = np.random.default_rng(0)
    for part in parts:
        for label, name in enumerate("abcd"):
            place = folder / part / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 100, (8, 8, 3), dtype=np.uint8)
                pixels[:, :, label % 3] += np.uint8(40 + 20 * label)
                Image.fromarray(pixels).save(place / f"{index:03d}.png")
    return folder


def empty(folder: Path) -> None:
    folder.mkdir()


def damage_two(folder: Path) -> None:
    for index in range(2):
        (write_folder(folder) if index == 0 else folder).joinpath(
            "a", f"{index:03d}.png"
        ).write_bytes(b"\x89PNG\r\n broken")


def miss_a_class(folder: Path) -> None:
    write_folder(folder, ("train", "test"))
    shutil.rmtree(folder / "test" / "c")


def add_classes(folder: Path) -> None:
    shutil.copytree(write_folder(folder) / "a", folder / "e")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (empty, ("pictures: no images found", "one sub-folder per class")),
        (damage_two, ("2 of 120 images cannot be read", "a/000.png", "above 1 %")),
        (miss_a_class, ("test: no image of class c", "add some")),
        (add_classes, ("class e is number 5", "only 4 classes")),
    ],
)
def test_folders_that_cannot_be_used(
    workplace: Path, cli: Cli, prepare: Callable[[Path], None], said: tuple[str, ...]
) -> None:
    prepare(workplace / "pictures")
    expect_one_line(cli(*WORDS, "--data", "pictures"), 11, *said)
    assert not list(workplace.glob("small.onnx*"))


@pytest.mark.parametrize(
    ("shape", "label", "said"),
    [
        ((40, 1, 8, 8), 3, ("images are 1x8x8", "model reads 3x8x8")),
        ((40, 3, 9, 9), 3, ("images are 3x9x9", "model reads 3x8x8")),
        ((40, 3, 8, 8), 900, ("class 900", "only 4 classes")),
        ((40, 3, 8, 8), -1, ("label -1", "outside")),
        ((0, 3, 8, 8), 0, ("no images",)),
    ],
)
def test_arrays_that_do_not_fit_the_model(
    workplace: Path, cli: Cli, shape: tuple[int, ...], label: int, said: tuple[str, ...]
) -> None:
    labels = np.arange(shape[0]) % 4
    labels[-1:] = label
    np.savez(workplace / "wrong.npz", images=np.zeros(shape, np.uint8), labels=labels)
    expect_one_line(cli(*WORDS, "--data", "wrong.npz"), 11, "wrong.npz", *said)
    assert not list(workplace.glob("small.onnx*"))


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("label", ("loss cannot be computed", "targets fit the model's outputs")),
        ("channels", ("it reads [(3, 8, 8)]", "they are [(1, 8, 8)]")),
        ("late", ("loss cannot be computed",)),
        ("nothing", ("no batch",)),
    ],
)
def test_loaders_that_do_not_fit_the_model(
    workplace: Path, cli: Cli, factory: str, said: tuple[str, ...]
) -> None:
    (workplace / "odd.py").write_text(LOADERS)
    training = ("--pass", "magnitude", "--pass", "finetune", "--epochs", "1")
    expect_one_line(cli(*WORDS, "--data", f"odd:{factory}", *training), 11, *said)
    assert not list(workplace.glob("small.onnx"))


def test_one_corrupt_image_among_good_ones_is_skipped_and_named(workplace: Path, cli: Cli) -> None:
    folder = write_folder(workplace / "pictures")
    (folder / "b" / "007.png").write_bytes(b"\x89PNG\r\n broken")
    code, out, err = cli(*WORDS, "--data", "pictures")
    assert code == 0, err
    assert "note: skipped: 1 of 120 images cannot be read (b/007.png)" in out


def test_a_loss_that_is_no_number_stops_training_and_is_told(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    training = ("--pass", "magnitude", "--pass", "finetune", "--learning-rate", "1e30")
    code, out, err = cli(*WORDS, "--data", "images.npz", *training, "--epochs", "2")
    assert code == 0, err
    assert "finetune: training stopped: the loss became" in out
    assert "the weights are those" in out
    assert "Traceback" not in err
