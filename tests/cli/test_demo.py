"""The demo, and the pieces of it that users may copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.demo import accuracy, run_demo
from compressc.errors import HandOverError
from compressc.models.checkpoints import load_checkpoint
from compressc.models.digits_data import DigitsSplit, digits_split
from compressc.models.registry import weights_path
from tests.cli.conftest import Cli

WEIGHTS = weights_path("digits_resnet")


@pytest.fixture(scope="module")
def digits() -> DigitsSplit:
    return digits_split(0)


def test_the_shipped_weights_are_as_good_as_they_claim(digits: DigitsSplit) -> None:
    assert WEIGHTS is not None
    checkpoint = load_checkpoint(WEIGHTS)
    images = checkpoint.normalization.apply(torch.from_numpy(digits.test_images)).numpy()
    model = export_onnx(compressc.load(WEIGHTS))
    found = accuracy(model, images, digits.test_labels)
    assert found == pytest.approx(100 * checkpoint.accuracy, abs=0.01)
    assert found >= 99
    shuffled = np.roll(digits.test_labels, 1)
    assert accuracy(model, images, shuffled) < 30


@pytest.mark.slow
def test_fine_tuning_brings_a_pruned_network_back_and_the_proof_is_of_what_ships() -> None:
    demo = run_demo(epochs=3)
    assert demo.accuracy_pruned < demo.accuracy_recovered - 5
    assert demo.accuracy_recovered > demo.accuracy_original - 2
    report = demo.result.report
    assert [row.name for row in report.passes] == ["magnitude", "finetune"]
    assert report.verdict.passed
    assert not [check for check in report.verdict.checks if "before the weights" in check.text]
    assert report.metric is not None
    assert report.metric.after == pytest.approx(demo.accuracy_recovered, abs=0.5)
    said = {entry.key: entry.value for entry in demo.result.onnx.metadata_props}
    assert said["compressc.classes"].split() == list("0123456789")


def test_without_scikit_learn_it_says_what_to_install(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    code, _, err = cli("demo")
    assert code == HandOverError.exit_code
    assert "compressc[demo]" in err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_demo_from_start_to_finish(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("demo", "--epochs", "3")
    assert code == 0, err
    for text in ("360 held-out images", "original", "pruned", "recovered", "latency p50", "MACs"):
        assert text in out
    folder = tmp_path / "compressc-demo"
    assert {path.name for path in folder.iterdir()} == {
        "original.onnx",
        "small.onnx",
        "report.html",
    }
    for path in folder.glob("*.onnx"):
        onnx.checker.check_model(path, full_check=True)
    assert "accuracy" in (folder / "report.html").read_text()
