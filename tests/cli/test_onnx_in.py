"""ONNX files on the command line: the same commands as for any model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.conftest import Cli
from tests.onnx_kit import run, two_convolutions

SMALL = ("--multiple-of", "1", "--no-measure")


@pytest.fixture
def image_file(workplace: Path) -> Path:
    onnx.save(two_convolutions(), workplace / "model.onnx")
    rng = np.random.default_rng(0)
    images = rng.standard_normal((48, 3, 8, 8)).astype(np.float32)
    np.savez(workplace / "images.npz", x=images)
    return workplace


def test_half_the_flops(image_file: Path, cli: Cli) -> None:
    words = ("model.onnx", "--target-flops", "0.5", "--no-repair", *SMALL)
    code, out, err = cli(*words, "-o", "small.onnx", "--save", "small.pt2", "--report", "r.json")
    assert code == 0, err
    assert "equal to the file in ONNX Runtime at batches 1, 2, 5" in out
    report = json.loads(Path("r.json").read_text())
    assert report["after"]["macs"] <= 0.5 * report["before"]["macs"]
    small = onnx.load("small.onnx")
    assert [value.name for value in small.graph.input] == ["image"]
    assert [value.name for value in small.graph.output] == ["scores"]
    assert "first" in [node.name for node in small.graph.node]
    assert Path("small.pt2").exists()
    # What came out can be handed over again, as ONNX and for PyTorch.
    for name in ("small.onnx", "small.pt2"):
        code, _, err = cli(name, "--target-flops", "0.7", "--no-repair", *SMALL, "-o", "again.onnx")
        assert code == 0, err


def test_repair_on_arrays(image_file: Path, cli: Cli) -> None:
    words = ("model.onnx", "--target-flops", "0.6", "--data", "images.npz", *SMALL)
    code, out, err = cli(*words, "-o", "small.onnx")
    assert code == 0, err
    assert "calibrate" in out


def test_int8(image_file: Path, cli: Cli) -> None:
    words = ("model.onnx", "--int8", "--force-int8", "--int8-samples", "images.npz")
    code, out, err = cli(*words, "--no-measure", "-o", "small.onnx")
    assert code == 0, err
    assert "int8 ~ float32" in out
    # And what is quantised is not taken for a float network.
    code, _, err = cli("small.onnx", "--target-flops", "0.5", "-o", "smaller.onnx")
    assert code == 21
    assert "quantised already" in err


def test_zeros_in_compact_storage(image_file: Path, cli: Cli) -> None:
    words = ("model.onnx", "--sparsity", "0.8", "--storage", "compact", "--no-measure")
    code, _, err = cli(*words, "-o", "small.onnx")
    assert code == 0, err
    assert run(onnx.load("small.onnx"), np.zeros((3, 3, 8, 8), np.float32))[0].shape == (3, 4)


def test_inspect_profile_bench_verify(image_file: Path, cli: Cli) -> None:
    code, out, err = cli("inspect", "model.onnx", "--json")
    assert code == 0, err
    groups = json.loads(out)["groups"]
    assert any(group["pinned"] is None for group in groups)
    code, _, err = cli("bench", "model.onnx", "model.onnx", "--rounds", "3", "--no-memory")
    assert code == 0, err
    code, out, err = cli("profile", "model.onnx", "--seconds", "0.2")
    assert code == 0, err
    assert "second" in out


def test_a_damaged_file_is_one_line(image_file: Path, cli: Cli) -> None:
    data = Path("model.onnx").read_bytes()
    Path("half.onnx").write_bytes(data[: len(data) // 2])
    code, out, err = cli("half.onnx", "--target-flops", "0.5", "-o", "small.onnx")
    assert (code, out) == (10, "")
    assert err.count("\n") <= 3
    assert "half.onnx: not a readable ONNX file" in err
    assert not Path("small.onnx").exists()
