"""``compressc search``: from data to a file, and back after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from compressc.datasets.opening import open_task
from tests.cli.conftest import Cli
from tests.cli.test_resuming import PATIENT, kill_when, weights
from tests.scas.scas_kit import write_textures

SMALL = (
    "--layers",
    "3",
    "--channels",
    "6",
    "--nodes",
    "2",
    "--epochs",
    "2",
    "--children",
    "2",
    "--controller-steps",
    "2",
    "--floor",
    "4",
    "--final-epochs",
    "6",
    "--final-floor",
    "4",
    "--final-learning-rate",
    "0.2",
    "--final-precision",
    "float32",
    "--final-prune-every",
    "2",
    "--no-measure",
)


def test_a_network_is_found_trained_and_written(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_textures(tmp_path / "data.npz", 400)
    outputs = ("-o", "net.onnx", "--report", "net.html", "--save", "net.pt2")
    arguments = ("--space", "enas-macro", "--data", "data.npz", "--sparsity", "0.6", *SMALL)
    code, out, err = cli("search", *arguments, *outputs)
    assert code == 0, err
    assert "running scas" in err
    assert "scas: " in out
    assert "gradual: " in out
    assert not list(tmp_path.glob("*.state"))
    page = (tmp_path / "net.html").read_text()
    assert "The architecture that was found" in page
    assert "against zeros [%]" in page
    assert "accuracy" in page
    model = onnx.load("net.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    right = total = 0
    for (inputs,), labels in open_task("data.npz").validation_batches(0, 0):
        logits = session.run(None, {model.graph.input[0].name: inputs.numpy()})[0]
        right += int((logits.argmax(1) == labels.numpy()).sum())
        total += len(labels)
    assert right / total > 0.6
    zeros = [
        (onnx.numpy_helper.to_array(t) == 0).mean()
        for t in model.graph.initializer
        if len(t.dims) == 4 and np.prod(t.dims) > 100
    ]
    assert all(share > 0.4 for share in zeros)


@pytest.mark.slow
def test_compact_storage_and_the_sparse_engine(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_textures(tmp_path / "data.npz")
    arguments = ("--space", "enas-macro", "--data", "data.npz", "--sparsity", "0.8", *SMALL)
    code, _, err = cli("search", *arguments, "--storage", "compact", "-o", "net.onnx", "--quiet")
    assert code == 0, err
    assert (tmp_path / "net.onnx").stat().st_size > 1000
    # And the recipe beside it repeats it.
    assert cli("run", "net.recipe.toml", "-o", "again.onnx")[0] == 0
    first, again = (onnx.load(name).graph for name in ("net.onnx", "again.onnx"))
    assert again.SerializeToString() == first.SerializeToString()


@pytest.mark.slow
@pytest.mark.parametrize(
    "state", ["net.onnx.state/*/scas-*.state", "net.onnx.state/*/gradual-*.state"]
)
def test_killed_in_search_or_in_final_training_it_ends_the_same(tmp_path: Path, state: str) -> None:
    write_textures(tmp_path / "data.npz")
    arguments = ("search", "--space", "enas-macro", "--data", "data.npz", *SMALL)
    killed = [sys.executable, "-c", PATIENT, *arguments, "-o", "net.onnx"]
    kill_when(tmp_path, state, killed)
    assert not (tmp_path / "net.onnx").exists()
    assert list(tmp_path.glob(state))
    for words in (
        [*killed, "--report", "net.json"],
        [sys.executable, "-c", PATIENT, *arguments, "-o", "whole.onnx", "--report", "whole.json"],
    ):
        finished = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert finished.returncode == 0, finished.stderr
    assert weights(tmp_path / "net.onnx") == weights(tmp_path / "whole.onnx")
    chosen, whole = (
        [p for p in json.loads((tmp_path / name).read_text())["passes"] if p["name"] == "scas"]
        for name in ("net.json", "whole.json")
    )
    assert chosen[0]["notes"] == whole[0]["notes"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--space", "nope"), 31, "no search space is called 'nope'; installed spaces: darts"),
        (("--space", "darts", "--stem-stride", "4"), 32, "at least 48x48 is needed"),
        (("--space", "darts", "--layers", "2"), 31, "more than 2 layers"),
        (("--space", "smash", "--epochs", "0"), 34, "too few for one generation"),
        (("--space", "smash", "--trials", "1"), 34, "too few for one generation"),
        (("--space", "smash", "--sparsity", "1"), 4, "give a share of zeros"),
        (("--space", "smash", "--final-ramp", "2"), 4, "ramp 2"),
    ],
)
def test_bad_input_is_one_line_with_a_code_of_its_own(
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_textures(tmp_path / "data.npz")
    got, _, err = cli("search", "--data", "data.npz", *arguments, "-o", "net.onnx", "--quiet")
    assert (got, text in err) == (code, True), err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "net.onnx").exists()


def test_data_that_are_too_few_are_refused(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_textures(tmp_path / "data.npz", 150)
    got, _, err = cli(
        "search", "--space", "smash", "--data", "data.npz", *SMALL, "-o", "n.onnx", "--quiet"
    )
    assert got == 33, err
    assert "cannot be ranked by fewer than 20" in err


def test_the_help_teaches(cli: Cli) -> None:
    with pytest.raises(SystemExit):
        cli("search", "--help")


def test_an_output_is_needed(cli: Cli) -> None:
    code, _, err = cli("search", "--space", "darts", "--data", "nowhere")
    assert code == 2
    assert "say where the result goes" in err
