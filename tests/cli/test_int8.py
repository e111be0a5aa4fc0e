"""``--int8`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx

from compressc.backend.quantization import is_quantized
from tests.cli.conftest import TINY, Cli

COMMON = (*TINY, "--no-measure", "--multiple-of", "4", "-o", "small.onnx")


def store(folder: Path, array: np.ndarray) -> None:
    np.savez(folder / "samples.npz", x=array)


def normal(count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype(np.float32)


def test_pruned_and_quantised(workplace: Path, cli: Cli) -> None:
    store(workplace, normal())
    words = ("--target-flops", "0.5", "--force-int8", "--int8-samples", "samples.npz")
    code, out, err = cli(*COMMON, *words, "--report", "report.json")
    assert code == 0, err
    assert "int8 ~ float32" in out
    assert is_quantized(onnx.load(workplace / "small.onnx"))
    report = json.loads((workplace / "report.json").read_text())
    assert report["int8"]["calibration_samples"] == 32


def test_int8_alone(workplace: Path, cli: Cli) -> None:
    store(workplace, normal())
    words = ("--int8", "--force-int8", "--int8-samples", "samples.npz")
    code, _, err = cli(*COMMON, *words)
    assert code == 0, err
    assert is_quantized(onnx.load(workplace / "small.onnx"))


def test_bad_calls_are_one_line_and_leave_no_file(workplace: Path, cli: Cli) -> None:
    small = ("--target-flops", "0.5")
    store(workplace, np.full((4, 3, 8, 8), np.nan, np.float32))
    for words, expected, said in (
        ((*small, "--force-int8"), 11, "needs real inputs"),
        ((*small, "--int8-samples", "samples.npz"), 2, "is for --int8"),
        ((*small, "--force-int8", "--int8-samples", "samples.npz"), 11, "not finite"),
        ((*small, "--force-int8", "--int8-samples", "tiny.pt"), 11, "is no .npz of plain arrays"),
        ((*small, "--force-int8", "--int8-samples", "none.npz"), 2, "no such file"),
    ):
        code, out, err = cli(*COMMON, *words)
        assert code == expected
        assert said in err
        assert err.splitlines()[-1].startswith("compressc: error:")
        assert out == ""
        assert not (workplace / "small.onnx").exists()
