"""Training: it learns, it resumes exactly, it refuses what it must."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from compressc.models import train_digits, training
from compressc.models.augmentation import flip, shift, shift_and_flip
from compressc.models.checkpoints import Checkpoint, load_checkpoint
from compressc.models.training import Fitted, Recipe, evaluate, fit
from compressc.models.training_data import DataSet, Labeled, carve_validation
from compressc.models.training_record import Job, train_and_record

RECIPE = Recipe(epochs=4, learning_rate=0.02, batch_size=16)


def stripes(count: int, seed: int) -> Labeled:
    """Images with a bright row whose place tells the class: easy, but not without learning."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    images = 0.2 * torch.rand(count, 1, 28, 28, generator=generator)
    images[torch.arange(count), 0, 4 + 2 * labels] = 1.0
    return Labeled(images, labels)


DATA = DataSet("stripes", stripes(160, 0), stripes(40, 1), stripes(40, 2), 0)
nudge = partial(shift, pixels=1)


def run(state_path: Path, recipe: Recipe = RECIPE, seed: int = 0) -> Fitted:
    return fit("lenet5", {}, DATA, recipe, nudge, seed, state_path)


def same_weights(a: Fitted | Checkpoint, b: Fitted | Checkpoint) -> bool:
    return all(torch.equal(v, b.state_dict[k]) for k, v in a.state_dict.items())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("state") / "run.pt")


def test_training_learns(undisturbed):
    assert undisturbed.val_accuracy > 0.9
    assert 1 <= undisturbed.best_epoch <= 4


def test_an_interrupted_run_goes_on_to_the_same_weights(undisturbed, tmp_path, monkeypatch):
    evaluated = []

    def evaluate_twice(*args):
        if len(evaluated) == 2:
            raise KeyboardInterrupt
        evaluated.append(args)
        return evaluate(*args)

    monkeypatch.setattr(training, "evaluate", evaluate_twice)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run.pt")
    monkeypatch.undo()
    assert torch.load(tmp_path / "run.pt", weights_only=True)["epoch"] == 2
    resumed = run(tmp_path / "run.pt")
    assert same_weights(resumed, undisturbed)
    assert resumed.best_epoch == undisturbed.best_epoch


@pytest.mark.slow
def test_a_run_killed_with_signal_9_goes_on_to_the_same_weights(tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

    def arguments(folder: str) -> list[str]:
        here = tmp_path / folder
        return [f"--output={here / 'digits.pt'}", f"--state={here}", "--epochs=4"]

    process = subprocess.Popen(
        [sys.executable, "-m", "compressc.models.train_digits", *arguments("killed")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    state_path = tmp_path / "killed" / "digits-seed0.pt"
    deadline = time.monotonic() + 60
    while not state_path.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = torch.load(state_path, weights_only=True)["epoch"]
    assert 1 <= done < 4

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_digits.main(arguments("killed"))
        train_digits.main(arguments("undisturbed"))
    finally:
        torch.set_num_threads(threads)
    resumed = load_checkpoint(tmp_path / "killed" / "digits.pt")
    undisturbed = load_checkpoint(tmp_path / "undisturbed" / "digits.pt")
    assert same_weights(resumed, undisturbed)
    assert resumed.accuracy == undisturbed.accuracy


def test_another_seed_gives_other_weights(undisturbed, tmp_path):
    assert not same_weights(run(tmp_path / "run.pt", replace(RECIPE, epochs=1), 1), undisturbed)


def test_the_state_of_another_run_is_refused(tmp_path):
    run(tmp_path / "run.pt", replace(RECIPE, epochs=1))
    with pytest.raises(ValueError, match=r"run\.pt is the state of another run; delete it"):
        run(tmp_path / "run.pt", replace(RECIPE, epochs=1), seed=1)


def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_good_state(tmp_path):
    broken = replace(DATA.train, images=torch.full_like(DATA.train.images, float("nan")))
    with pytest.raises(ValueError, match="lenet5 seed 0: the loss is nan in epoch 1"):
        fit("lenet5", {}, replace(DATA, train=broken), RECIPE, nudge, 0, tmp_path / "run.pt")
    assert not (tmp_path / "run.pt").exists()


def test_the_record_tells_every_seed_and_the_first_one_ships(tmp_path):
    job = Job(
        arch="lenet5",
        data=DATA,
        recipe=replace(RECIPE, epochs=1),
        augment=shift_and_flip,
        seeds=(4, 5),
        output=tmp_path / "out.pt",
        state_dir=tmp_path / "state",
        dtype=torch.float16,
    )
    train_and_record(job, "the command")
    record = json.loads((tmp_path / "out.json").read_text())
    assert [r["seed"] for r in record["runs"]] == [4, 5]
    assert record["command"] == "the command"
    assert load_checkpoint(tmp_path / "out.pt").seed == 4
    assert list((tmp_path / "state").iterdir()) == []


def test_the_learning_rate_rises_then_falls_to_zero():
    rates = [RECIPE.rate_at(step, 100) for step in range(100)]
    assert max(rates) == RECIPE.learning_rate == rates[10]
    assert rates[0] == pytest.approx(RECIPE.learning_rate / 10)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01 * RECIPE.learning_rate


def test_shift_moves_whole_images_and_fills_with_zeros():
    image = torch.zeros(400, 1, 5, 5)
    image[:, :, 2, 2] = 1
    moved = shift(image, torch.Generator().manual_seed(0), 2)
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(400))
    assert (moved.sum(0) > 0).all()
    away = shift(torch.ones(400, 1, 5, 5), torch.Generator().manual_seed(0), 2)
    assert 0 < away.mean() < 1


def test_flip_mirrors_about_half():
    ramp = torch.arange(4.0).expand(400, 1, 1, 4)
    mirrored = (flip(ramp, torch.Generator().manual_seed(0))[:, 0, 0, 0] == 3).float().mean()
    assert 0.4 < mirrored < 0.6


def test_the_validation_part_is_disjoint_stratified_and_seeded():
    rows = Labeled(torch.arange(100.0).view(100, 1, 1, 1), torch.arange(100) % 10)
    train, val = carve_validation(rows, 0.2, seed=0)
    assert val.labels.bincount().tolist() == [2] * 10
    together = torch.cat((train.images, val.images)).flatten().sort().values
    assert torch.equal(together, torch.arange(100.0))
    assert not torch.equal(carve_validation(rows, 0.2, seed=1)[1].images, val.images)


def test_the_digits_parts_are_disjoint_and_stratified():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    import numpy as np

    from compressc.models.digits_data import digits_split

    split = digits_split(0)
    parts = (split.train_images, split.val_images, split.test_images)
    assert [len(p) for p in parts] == [1077, 360, 360]
    assert {p.dtype for p in parts} == {np.dtype("float32")}
    assert {p.shape[1:] for p in parts} == {(1, 8, 8)}
    assert max(p.max() for p in parts) == 1.0
    assert split.test_labels.dtype == np.int64
    assert np.bincount(split.test_labels).min() >= 34
    assert not np.array_equal(digits_split(1).test_labels, split.test_labels)
    unique = {image.tobytes() for part in parts for image in part}
    assert len(unique) == 1797
