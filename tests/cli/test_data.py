"""``--data``: both models are judged, and passes that need data get it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx

from tests.cli.conftest import TINY, Cli
from tests.cli.test_errors import expect_one_line

# Judges a model by its size, so that pruning loses hundreds of points.
JUDGE = """
class Judge:
    metric_name = "params"

    def train_batches(self, epoch, seed):
        return iter(())

    calibration_batches = loss = train_batches

    def validate(self, module):
        return sum(p.numel() for p in module.parameters())

    evaluate = validate


build = Judge
"""


def write_images(folder: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(160) % 4
    images = generator.integers(0, 60, (160, 3, 8, 8), dtype=np.uint8)
    images[np.arange(160), labels % 3] += (40 * (1 + labels)).astype(np.uint8)[:, None, None]
    np.savez(folder / "images.npz", images=images, labels=labels)


def test_without_a_named_pass_data_choose_and_repair(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    code, _, err = cli(
        *TINY, "--data", "images.npz", "--target-flops", "0.5", "--no-measure",
        "-o", "small.onnx", "--report", "report.json",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads((workplace / "report.json").read_text())
    assert [one["name"] for one in report["passes"]] == ["surgeon", "calibrate"]


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
    assert code == 11
    assert "--data" in err
    assert not (workplace / "small.onnx").exists()


def test_data_that_are_not_there_are_named(workplace: Path, cli: Cli) -> None:
    code, _, err = cli(*TINY, "--target-flops", "0.5", "--data", "nowhere", "-o", "small.onnx")
    assert code == 11
    assert "nowhere" in err


def test_a_drop_beyond_the_bound_is_one_line_and_no_file(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    (workplace / "judge.py").write_text(JUDGE)
    words = (
        *TINY,
        "--target-flops",
        "0.5",
        "--pass",
        "magnitude",
        "--multiple-of",
        "4",
        "-o",
        "small.onnx",
    )
    outcome = cli(*words, "--data", "judge:build", "--max-drop", "1")
    expect_one_line(outcome, 4, "--max-drop allows 1 point", "more epochs", "milder target")
    outcome = cli(*words, "--max-drop", "1")
    expect_one_line(outcome, 11, "--max-drop needs data", "--data DIR")
    outcome = cli(*words, "--data", "images.npz", "--max-drop", "-1")
    expect_one_line(outcome, 4, "max_drop -1")
    assert not list(workplace.glob("small.onnx*"))


def test_a_search_keeps_to_the_trials_it_is_given(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    search = ("--target-flops", "0.5", "--pass", "ascai", "--spaces", "ps", "--no-measure")
    words = (*TINY, *search, "--data", "images.npz", "--multiple-of", "4", "-o", "small.onnx")
    code, _, err = cli(*words, "--trials", "7", "--report", "report.json")
    assert code == 0, err
    notes = json.loads((workplace / "report.json").read_text())["passes"][0]["notes"]
    assert notes[0].startswith("best of 7 candidates")
    expect_one_line(cli(*words, "--trials", "0"), 4, "trials 0")
    expect_one_line(cli(*words, "--search-seconds", "-1"), 4, "seconds -1")


def test_the_file_says_how_to_feed_it(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    words = (*TINY, "--target-flops", "0.5", "--multiple-of", "4", "--no-measure")
    code, out, err = cli(*words, "--data", "images.npz", "-o", "small.onnx")
    assert code == 0, err
    assert "test accuracy [%] on images.npz" in out
    model = onnx.load(workplace / "small.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["compressc.data"] == "images.npz"
    assert said["compressc.input_shape"] == "3 8 8"
    assert len(said["compressc.normalization.mean"].split()) == 3
    assert said["compressc.classes"].split() == ["0", "1", "2", "3"]


def test_the_normalization_can_be_said(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    words = (*TINY, "--data", "images.npz", "--target-flops", "0.5", "--pass", "magnitude")
    words = (*words, "--no-measure", "-o", "small.onnx")
    code, _, err = cli(*words, "--mean", "0.5,0.25,0.125", "--std", "0.2,0.3,0.4")
    assert code == 0, err
    said = {p.key: p.value for p in onnx.load(workplace / "small.onnx").metadata_props}
    assert said["compressc.normalization.mean"] == "0.5 0.25 0.125"
    assert said["compressc.normalization.std"] == "0.2 0.3 0.4"


def test_a_normalization_that_does_not_fit_is_one_line(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    words = (*TINY, "--target-flops", "0.5", "-o", "small.onnx")
    data = ("--data", "images.npz")
    expect_one_line(cli(*words, *data, "--mean", "0.5,0.5,0.5"), 2, "--std", "both")
    one = ("--mean", "0.5", "--std", "0.5")
    expect_one_line(cli(*words, *data, *one), 2, "--mean: 1 number(s) for the 3 channel(s)")
    zero = ("--mean", "0,0,0", "--std", "1,1,0")
    expect_one_line(cli(*words, *data, *zero), 2, "--std: must be above 0")
    expect_one_line(cli(*words, *data, "--mean", "a,b,c"), 2, "'a,b,c': give numbers")
    expect_one_line(cli(*words, *data, "--mean", "nan,0,0"), 2, "give numbers")
    expect_one_line(cli(*words, *one), 2, "give that as well")
    assert not list(workplace.glob("small.onnx*"))
