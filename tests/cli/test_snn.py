"""``--pass snn`` on the command line: options, report and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from compressc.pipeline import pass_runs
from tests.cli.conftest import TINY, Cli
from tests.cli.test_data import write_images
from tests.cli.test_errors import expect_one_line

DATA = ("--data", "images.npz")
SNN = ("--pass", "snn", "--epochs", "3")


@pytest.mark.parametrize("mode", ["connection", "neuron"])
def test_zeros_and_factors_arrive_in_file_and_report(workplace: Path, cli: Cli, mode: str) -> None:
    write_images(workplace)
    code, _, err = cli(
        *TINY, *DATA, *SNN, "--mode", mode, "--layers", "all", "--sparsity", "0.5", "--no-measure",
        "--storage", "compact", "-o", "small.onnx", "--report", "report.json",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads((workplace / "report.json").read_text())
    assert report["verdict"]["passed"]
    assert [picture["layer"] for picture in report["pictures"]] == ["0", "3", "7"]
    assert all(len(picture["levels"]) == 3 for picture in report["pictures"])
    settings = report["passes"][0]["settings"]
    assert (settings["mode"], settings["layers"], settings["sparsity"]) == (mode, "all", 0.5)
    # Nothing of the switchers is in the file.
    names = {each.name for each in onnx.load(workplace / "small.onnx").graph.initializer}
    assert not any("switch" in name or "factor" in name for name in names)


def test_what_follows_keeps_the_zeros(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    code, _, err = cli(
        *TINY, *DATA, *SNN, "--sparsity", "0.5", "--pass", "finetune", "--epochs", "1",
        "--no-measure", "-o", "small.onnx",
    )  # fmt: skip
    assert code == 0, err
    (dense,) = (
        numpy_helper.to_array(each)
        for each in onnx.load(workplace / "small.onnx").graph.initializer
        if each.name == "7.weight"
    )
    assert (dense == 0).mean() >= 0.4


def test_the_page_shows_the_factors(workplace: Path, cli: Cli) -> None:
    write_images(workplace)
    code, _, err = cli(
        *TINY, *DATA, *SNN, "--no-measure", "-o", "small.onnx", "--report", "report.html"
    )
    assert code == 0, err
    page = (workplace / "report.html").read_text()
    assert "Factors on connections and neurons" in page
    assert "7: 32 x 4 connections" in page


def test_a_run_goes_on_from_its_work_dir_with_its_pictures(
    workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a pass found is kept where finding it took time; here it always is.
    monkeypatch.setattr(pass_runs, "_WORTH_SAVING_SECONDS", -1.0)
    write_images(workplace)
    command = (
        *TINY, *DATA, "--pass", "snn", "--epochs", "40", "--no-measure", "--work-dir", "state",
        "-o", "small.onnx",
    )  # fmt: skip
    reports = []
    for name in ("first.json", "second.json"):
        code, _, err = cli(*command, "--report", name)
        assert code == 0, err
        reports.append(json.loads((workplace / name).read_text()))
    assert any("snn was done by an earlier run" in note for note in reports[1]["notes"])
    assert reports[0]["pictures"] == reports[1]["pictures"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--pass", "snn"), 11, "snn needs data"),
        ((*DATA, *SNN, "--mode", "weight"), 2, "mode"),
        ((*DATA, *SNN, "--sparsity", "2"), 4, "sparsity 2"),
        ((*DATA, *SNN, "--memory-mb", "0.001"), 5, "memory-mb"),
        ((*DATA, *SNN, "--target-params", "0.01"), 4, "params target"),
        ((*DATA, *SNN, "--keep", "7"), 5, "kept by --keep 7"),
    ],
)
def test_bad_input_is_one_line(
    workplace: Path, cli: Cli, options: tuple[str, ...], code: int, said: str
) -> None:
    write_images(workplace)
    expect_one_line(cli(*TINY, *options, "--no-measure", "-o", "small.onnx"), code, said)
    assert not (workplace / "small.onnx").exists()
