"""Checkpoints: what ships loads without code and is as good as its record says."""

import json
from pathlib import Path

import pytest
import torch

from compressc.models.checkpoints import (
    Checkpoint,
    Normalization,
    load_checkpoint,
    save_checkpoint,
)
from compressc.models.registry import architectures, build, weights_path
from compressc.models.training_data import Labeled

FOREIGN = Path("/work/shared/models")
SHIPPED = sorted(name for name in architectures() if weights_path(name))


def lenet_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        arch="lenet300_100",
        arch_kwargs={"num_classes": 10},
        input_shape=(1, 28, 28),
        normalization=Normalization((0.1,), (0.3,)),
        state_dict=build("lenet300_100").state_dict(),
        accuracy=0.5,
        seed=3,
    )


def test_a_checkpoint_survives_the_round_trip(tmp_path):
    saved = lenet_checkpoint()
    save_checkpoint(saved, tmp_path / "deep" / "a.pt")
    found = load_checkpoint(tmp_path / "deep" / "a.pt")
    for name in ("arch", "arch_kwargs", "input_shape", "normalization", "accuracy", "seed"):
        assert getattr(found, name) == getattr(saved, name)
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(found.model()(x), saved.model()(x), rtol=0, atol=0)
    assert not found.model().training
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.pt"]


def test_float16_halves_the_file_and_comes_back_as_float32(tmp_path):
    save_checkpoint(lenet_checkpoint(), tmp_path / "full.pt")
    save_checkpoint(lenet_checkpoint(), tmp_path / "half.pt", torch.float16)
    sizes = [(tmp_path / n).stat().st_size for n in ("full.pt", "half.pt")]
    assert sizes[1] < 0.51 * sizes[0]
    model = load_checkpoint(tmp_path / "half.pt").model()
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2]])
def test_another_file_is_refused_by_name(tmp_path, content):
    torch.save(content, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"b\.pt is no compressc-checkpoint-1 file"):
        load_checkpoint(tmp_path / "b.pt")


def test_normalization_is_per_channel():
    images = torch.ones(1, 2, 1, 1)
    scaled = Normalization((0.5, 0.0), (0.25, 2.0)).apply(images)
    assert scaled.flatten().tolist() == [2.0, 0.5]


def test_the_digits_network_ships():
    assert "digits_resnet" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_checkpoint_matches_its_record(name):
    path = weights_path(name)
    checkpoint = load_checkpoint(path)
    record = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size < 5_000_000
    assert checkpoint.arch == record["arch"] == name
    assert checkpoint.input_shape == architectures()[name].input_shape
    assert (checkpoint.accuracy, checkpoint.seed) == (record["accuracy"], record["seed"])
    assert record["runs"][0]["test_accuracy"] == record["accuracy"]
    assert {"torch", "python", "threads"} <= set(record["environment"])
    assert all(v.isfinite().all() for v in checkpoint.model().state_dict().values())


def test_the_digits_network_is_as_good_as_its_record_says():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    from compressc.models.digits_data import digits_split

    checkpoint = load_checkpoint(weights_path("digits_resnet"))
    split = digits_split(0)
    test = Labeled(torch.from_numpy(split.test_images), torch.from_numpy(split.test_labels))
    with torch.no_grad():
        logits = checkpoint.model()(checkpoint.normalization.apply(test.images))
    accuracy = float((logits.argmax(1) == test.labels).float().mean())
    assert accuracy >= 0.98
    # One image of slack: another processor may round a tie the other way.
    assert abs(accuracy - checkpoint.accuracy) <= 1.01 / len(test)


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="the foreign checkpoints are not on this machine")
def test_foreign_checkpoints_load_into_our_resnets():
    wrapped = torch.load(FOREIGN / "resnet20-cifar10-jpeg.th", weights_only=True)["state_dict"]
    build("resnet20").load_state_dict(
        {key.removeprefix("module."): value for key, value in wrapped.items()}
    )
    plain = torch.load(FOREIGN / "resnet56-cifar10-jpeg.pt", weights_only=True)
    build("resnet56").load_state_dict(plain)
