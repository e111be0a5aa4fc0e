"""``hf:NAME``: data sets in the cache of Hugging Face ``datasets``."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from compressc.cli.early_checks import check_early
from compressc.datasets import hub_names, opening
from compressc.datasets.opening import open_task
from compressc.datasets.streamed_tasks import StreamedTask
from compressc.errors import DataError
from compressc.tasks.classification import ClassificationTask
from compressc.tasks.unlabeled import UnlabeledTask
from tests.passes.training_kit import make_program

datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
# Not in alphabetical order: labels count as the data set says.
NAMES = ["red", "green", "blue"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "decoded"))
    return tmp_path / "hub"


def png(channel: int, number: int) -> bytes:
    pixels = np.full((10, 8, 3), number, np.uint8)
    pixels[..., channel] = 250
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def put_into_cache(
    cache: Path, name: str, splits: tuple[str, ...] = ("train", "test"), labeled: bool = True
) -> None:
    """Write what ``datasets.load_dataset(name)`` leaves behind."""
    from datasets.packaged_modules.parquet.parquet import Parquet

    columns = {"img": datasets.Image()}
    rows = {"img": [{"bytes": png(i % 3, i), "path": None} for i in range(60)]}
    if labeled:
        columns["label"] = datasets.ClassLabel(names=NAMES)
        rows["label"] = [i % 3 for i in range(60)]
    data = datasets.Dataset.from_dict(rows, features=datasets.Features(columns))
    files = {}
    for split in splits:
        files[split] = str(cache.parent / f"{name.replace('/', '-')}-{split}.parquet")
        data.to_parquet(files[split])
    builder = Parquet(
        cache_dir=str(cache / "made"),
        dataset_name=name.rpartition("/")[2],
        config_name="default",
        data_files=files,
        hash="0123",
    )
    builder.download_and_prepare()
    # Files that the repository itself names are no part of a configuration's name.
    place = cache / name.replace("/", "___")
    place.mkdir(parents=True)
    Path(builder.cache_dir).parents[1].rename(place / "default")


@pytest.mark.parametrize("name", ["colours", "someone/colours"])
def test_a_cached_set_is_judged_by_its_own_labels(cache: Path, name: str) -> None:
    put_into_cache(cache, name)
    task = open_task(f"hf:{name}", input_shape=(3, 8, 8))
    assert isinstance(task, ClassificationTask)
    assert task.classes == ("red", "green", "blue")
    for part in (task.data.train, task.data.val, task.data.test):
        assert torch.equal(part.images[:, :, 0, 0].argmax(1), part.labels)
    assert len(task.data.test) == 60


def test_a_set_larger_than_memory_is_read_as_needed(cache: Path, monkeypatch) -> None:
    put_into_cache(cache, "colours")
    monkeypatch.setattr(opening, "_memory_bytes", lambda: 1000)
    task = open_task("hf:colours", input_shape=(3, 8, 8), batch_size=16)
    assert isinstance(task, StreamedTask)
    assert task.classes == ("red", "green", "blue")
    for images, labels in task.test:
        assert torch.equal(images[:, :, 0, 0].argmax(1), labels)


def test_a_set_without_labels_is_compared_with_the_original(cache: Path) -> None:
    put_into_cache(cache, "colours", ("train",), labeled=False)
    task = open_task("hf:colours", input_shape=(3, 8, 8), original=make_program())
    assert isinstance(task, UnlabeledTask)
    assert task.evaluate(make_program().module()) == 100.0


def test_what_is_not_in_the_cache_is_told(cache: Path) -> None:
    with pytest.raises(DataError, match="not in the cache of datasets") as caught:
        open_task("hf:nobody/nothing", input_shape=(3, 8, 8))
    assert "load_dataset('nobody/nothing')" in str(caught.value)


def test_a_set_without_a_training_split_is_told(cache: Path) -> None:
    put_into_cache(cache, "colours", ("test",))
    with pytest.raises(DataError, match="has the splits test; one named train"):
        open_task("hf:colours", input_shape=(3, 8, 8))


def test_a_missing_library_is_told_before_torch_is_loaded(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "m.pt").write_text("")
    check_early([str(tmp_path / "m.pt"), "--data", "hf:colours"])
    monkeypatch.setattr(hub_names, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install compressc\[hub\]"):
        check_early([str(tmp_path / "m.pt"), "--data", "hf:colours"])
