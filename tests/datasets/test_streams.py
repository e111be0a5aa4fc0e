"""Large folders are read as needed; decoded archives are kept."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import compressc
from compressc.datasets import decoded_cache, image_files, opening, streamed_images
from compressc.datasets.opening import open_task
from compressc.datasets.picture_index import Pictures
from compressc.datasets.streamed_tasks import StreamedTask, StreamedUnlabeledTask
from compressc.errors import DataError
from compressc.models.checkpoints import Normalization
from compressc.tasks.protocol import Task

HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def picture(label: int, number: int, side: int = 20) -> Image.Image:
    """Red for class 0, blue for class 1, darker with the number."""
    pixels = np.zeros((side, side + 6, 3), np.uint8)
    pixels[..., 2 * label] = 255 - number
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, name in enumerate(("red", "blue")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(40):
            picture(label, number).save(tmp_path / "data" / name / f"{number:02}.png")
    return tmp_path / "data"


@pytest.fixture
def streamed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StreamedTask:
    monkeypatch.setattr(opening, "_memory_bytes", lambda: 1000)
    task = open_task(folder, normalization=HALF, input_shape=(3, 16, 16), batch_size=8)
    assert isinstance(task, StreamedTask)
    return task


def first_file(folder: Path, pictures: Pictures) -> Path:
    return folder / pictures.name(0)


class Redness(nn.Module):
    def forward(self, x):
        # Classes in alphabetical order: blue, red.
        return torch.stack([x[:, 2].mean((1, 2)), x[:, 0].mean((1, 2))], 1)


def test_a_large_folder_is_read_as_needed_and_judged(streamed: StreamedTask) -> None:
    assert isinstance(streamed, Task)
    assert streamed.evaluate(Redness()) == streamed.validate(Redness()) == 100.0
    assert streamed.classes == ("blue", "red")
    sizes = [len(part.decoded) for part in (streamed.train, streamed.val, streamed.test)]
    assert sizes == [58, 6, 16]
    assert "80 images, read as they are needed" in streamed.notes[0]


def test_its_batches_are_normalised_and_repeatable(streamed: StreamedTask) -> None:
    epoch = list(streamed.train_batches(0, 1))
    for ((x,), target), ((y,), same) in zip(epoch, streamed.train_batches(0, 1), strict=True):
        assert torch.equal(x, y)
        assert torch.equal(target, same)
    (first,), labels = epoch[0]
    (other,), _ = next(iter(streamed.train_batches(1, 1)))
    assert first.shape == (8, 3, 16, 16)
    assert not torch.equal(first, other)
    blue, red = first[labels == 0], first[labels == 1]
    assert torch.all(blue[:, 0] == -1)
    assert torch.all(red[:, 0] > 0.6)
    assert streamed.train_steps() == sum(1 for _ in streamed.train_batches(0, 1))


def test_calibration_and_validation_give_what_was_asked_for(streamed: StreamedTask) -> None:
    assert sum(len(x) for (x,) in streamed.calibration_batches(11, 0)) == 11
    assert sum(len(t) for _, t in streamed.validation_batches(3, 0)) == 3
    assert streamed.sample_validation(3, 0).count_validation() == 3
    assert streamed.sample_validation(10_000, 0) is streamed


def test_it_is_known_again(streamed: StreamedTask, folder: Path) -> None:
    before, test = streamed.fingerprint(), streamed.test_fingerprint()
    again = open_task(folder, normalization=HALF, input_shape=(3, 16, 16), batch_size=8)
    assert again.fingerprint() == before
    picture(0, 0, 30).save(first_file(folder, streamed.train.decoded.pictures))
    changed = open_task(folder, normalization=HALF, input_shape=(3, 16, 16), batch_size=8)
    assert changed.fingerprint() != before
    assert changed.test_fingerprint() == test


def test_mean_and_deviation_are_estimated(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(opening, "_memory_bytes", lambda: 1000)
    task = open_task(folder, input_shape=(3, 16, 16))
    assert task.normalization.mean == pytest.approx((0.46, 0.0, 0.46), abs=0.03)


def test_a_damaged_file_is_named(streamed: StreamedTask, folder: Path) -> None:
    file = first_file(folder, streamed.test.decoded.pictures)
    file.write_bytes(b"no image")
    with pytest.raises(DataError, match=file.name):
        streamed.evaluate(Redness())


def test_a_model_of_fewer_classes_is_refused(streamed: StreamedTask) -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    program = compressc.capture(model, (torch.randn(2, 3, 16, 16),))
    with pytest.raises(DataError, match="has 2 classes, the model 1"):
        streamed.check_model(program)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    ).eval()


def compress_on(task: Task) -> compressc.Result:
    return compressc.compress(
        small_network(),
        torch.randn(2, 3, 16, 16),
        goal=0.5,
        task=task,
        passes=["surgeon", "calibrate"],
        settings=compressc.Settings(measure=False),
    )


def test_a_whole_compression_on_a_stream(streamed: StreamedTask) -> None:
    result = compress_on(streamed)
    assert result.report.metric is not None
    assert any("read as they are needed" in note for note in result.report.notes)


def test_pictures_are_decoded_batch_by_batch(streamed: StreamedTask, monkeypatch) -> None:
    decoded: list[bytes] = []
    right = streamed_images.decode

    def count(content: bytes, *rest):
        decoded.append(content)
        return right(content, *rest)

    monkeypatch.setattr(streamed_images, "decode", count)
    monkeypatch.setattr(streamed_images, "_workers", lambda _: 0)
    batches = streamed.train_batches(0, 0)
    next(batches)
    assert len(decoded) == 8
    next(batches)
    assert len(decoded) == 16


@pytest.fixture
def unlabeled(folder: Path, tmp_path: Path, monkeypatch) -> StreamedUnlabeledTask:
    monkeypatch.setattr(opening, "_memory_bytes", lambda: 1000)
    (tmp_path / "photos").mkdir()
    for number, file in enumerate(sorted(folder.rglob("*.png"))):
        file.rename(tmp_path / "photos" / f"{number}.png")
    original = compressc.capture(small_network(), (torch.randn(2, 3, 16, 16),))
    task = open_task(tmp_path / "photos", input_shape=(3, 16, 16), batch_size=8, original=original)
    assert isinstance(task, StreamedUnlabeledTask)
    return task


def test_a_large_folder_without_classes_is_read_as_needed(unlabeled) -> None:
    assert isinstance(unlabeled, Task)
    unlabeled.check_model(unlabeled.original)
    assert unlabeled.evaluate(small_network()) == unlabeled.validate(small_network()) == 100.0
    assert unlabeled.train_steps() == sum(1 for _ in unlabeled.train_batches(0, 0))
    assert sum(len(x) for (x,) in unlabeled.calibration_batches(11, 0)) == 11
    assert unlabeled.sample_validation(3, 0).count_validation() == 3
    assert unlabeled.keep_validation().validate(small_network()) == 100.0
    first, again = (next(iter(unlabeled.train_batches(2, 5))) for _ in range(2))
    assert torch.equal(first[0][0], again[0][0])


def test_it_gives_what_the_same_folder_gives_in_memory(unlabeled, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(opening, "_memory_bytes", lambda: 10**12)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole = open_task(
        tmp_path / "photos",
        input_shape=(3, 16, 16),
        normalization=unlabeled.normalization,
        batch_size=8,
        original=unlabeled.original,
    )
    in_memory = torch.cat([x for (x,) in whole.calibration_batches(99, 0)])
    streamed = torch.cat([x for (x,) in unlabeled.calibration_batches(99, 0)])
    assert torch.equal(in_memory, streamed)


def test_a_whole_compression_without_labels_on_a_stream(unlabeled) -> None:
    result = compress_on(unlabeled)
    assert result.report.accuracy is not None
    assert "pictures of photos" in result.report.accuracy.text


@pytest.mark.parametrize("prefix", ["", "data/"])
def test_a_plain_archive_is_read_as_needed(folder, tmp_path, monkeypatch, prefix) -> None:
    monkeypatch.setattr(opening, "_memory_bytes", lambda: 1000)
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        tar.add(folder, prefix or ".")
    task = open_task(
        tmp_path / "data.tar", normalization=HALF, input_shape=(3, 16, 16), batch_size=8
    )
    assert isinstance(task, StreamedTask)
    assert task.evaluate(Redness()) == 100.0
    same = open_task(folder, normalization=HALF, input_shape=(3, 16, 16), batch_size=8)
    for (x, label), (y, other) in zip(task.test, same.test, strict=True):
        assert torch.equal(x, y)
        assert torch.equal(label, other)


def test_a_compressed_archive_larger_than_memory_is_refused(archive, monkeypatch) -> None:
    monkeypatch.setattr(opening, "_memory_bytes", lambda: 1000)
    with pytest.raises(DataError, match="unpack a compressed archive"):
        open_task(archive, normalization=HALF, input_shape=(3, 16, 16))


def test_small_folders_stay_in_memory(folder: Path) -> None:
    task = open_task(folder, normalization=HALF, input_shape=(3, 16, 16))
    assert not isinstance(task, StreamedTask)


@pytest.fixture
def archive(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as tar:
        tar.add(folder, "data")
    return tmp_path / "data.tar.gz"


def test_an_archive_is_decoded_once(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_task(archive, normalization=HALF, input_shape=(3, 16, 16))
    monkeypatch.setattr(image_files, "decode", lambda *_, **__: pytest.fail("decoded again"))
    again = open_task(archive, normalization=HALF, input_shape=(3, 16, 16))
    assert torch.equal(first.data.train.images, again.data.train.images)
    assert again.classes == first.classes
    assert again.fingerprint() == first.fingerprint()


def test_another_archive_or_size_is_decoded_anew(archive: Path) -> None:
    open_task(archive, normalization=HALF, input_shape=(3, 16, 16))
    other = open_task(archive, normalization=HALF, input_shape=(3, 8, 8))
    assert other.data.train.images.shape[2:] == (8, 8)
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("a", "b"):
            for number in range(30):
                stream = io.BytesIO()
                picture(0, number).save(stream, "png")
                member = tarfile.TarInfo(f"{name}/{number}.png")
                member.size = stream.tell()
                stream.seek(0)
                tar.addfile(member, stream)
    again = open_task(archive, normalization=HALF, input_shape=(3, 16, 16))
    assert again.classes == ("a", "b")


def test_a_damaged_cache_is_done_without(archive: Path, tmp_path: Path) -> None:
    first = open_task(archive, normalization=HALF, input_shape=(3, 16, 16))
    for file in (tmp_path / "cache").rglob("images0.npy"):
        file.write_bytes(b"damaged")
    again = open_task(archive, normalization=HALF, input_shape=(3, 16, 16))
    assert torch.equal(first.data.train.images, again.data.train.images)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_done_without(archive, tmp_path, monkeypatch) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "closed"))
    task = open_task(archive, normalization=HALF, input_shape=(3, 16, 16))
    assert task.classes == ("blue", "red")


def test_a_folder_is_decoded_once_until_a_file_changes(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = open_task(folder, normalization=HALF, input_shape=(3, 16, 16))
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "decode", lambda *_, **__: pytest.fail("decoded again"))
        again = open_task(folder, normalization=HALF, input_shape=(3, 16, 16))
    assert again.fingerprint() == first.fingerprint()
    picture(1, 200).save(folder / "red" / "00.png")
    changed = open_task(folder, normalization=HALF, input_shape=(3, 16, 16))
    assert changed.fingerprint() != first.fingerprint()


def test_the_cache_keeps_to_its_limit(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = tmp_path / "cache" / "compressc" / "images"

    def entries() -> set[str]:
        return {entry.name for entry in home.iterdir()} if home.exists() else set()

    open_task(folder, input_shape=(3, 16, 16))
    (oldest,) = entries()
    os.utime(home / oldest, (1, 1))
    # 80 images of 3 x 16 x 16 take 61 KB, and their labels 0.6.
    monkeypatch.setenv("COMPRESSC_CACHE_GB", "0.00007")
    open_task(folder, input_shape=(3, 15, 15))
    assert len(entries()) == 1
    assert oldest not in entries()
    kept = entries()
    monkeypatch.setenv("COMPRESSC_CACHE_GB", "0.00003")
    open_task(folder, input_shape=(3, 14, 14))
    assert entries() == kept
    assert decoded_cache.CACHE.limit() == 0.00003
