"""``--data``: both models are judged, and passes that need data get it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.cli.conftest import TINY, Cli


def write_images(folder: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(160) % 4
    images = generator.integers(0, 60, (160, 3, 8, 8), dtype=np.uint8)
    images[np.arange(160), labels % 3] += (40 * (1 + labels)).astype(np.uint8)[:, None, None]
    np.savez(folder / "images.npz", images=images, labels=labels)


def test_a_pass_repairs_with_data_and_the_report_judges(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    passes = ("--pass", "magnitude", "--pass", "calibrate")
    code, out, err = cli(
        *TINY, "--data", "images.npz", "--target-flops", "0.5", *passes, "--no-measure",
        "-o", "small.onnx", "--report", "report.json",
    )  # fmt: skip
    assert code == 0, err
    metric = json.loads((workplace / "report.json").read_text())["metric"]
    assert metric["name"] == "test accuracy [%]"
    assert 0 <= metric["before"] <= 100
    assert "test accuracy" in out


def test_calibrate_without_data_says_what_to_give(workplace: Path, cli: Cli) -> None:
    code, _, err = cli(*TINY, "--target-flops", "0.5", "--pass", "calibrate", "-o", "small.onnx")
    assert code == 2
    assert "--data" in err
    assert not (workplace / "small.onnx").exists()


def test_data_that_are_not_there_are_named(workplace: Path, cli: Cli) -> None:
    code, _, err = cli(*TINY, "--target-flops", "0.5", "--data", "nowhere", "-o", "small.onnx")
    assert code == 2
    assert "nowhere" in err
