"""The examples run as they stand, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compressc.cli.main import main
from compressc.models.registry import weights_path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What each says at its end.
SAYS = {
    "classify.py": "of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
    "detector_without_labels.py": "% of the MACs left",
    "from_onnx.py": "ours.onnx: reads",
    "own_training_loop.py": "ok  torch == ONNX Runtime",
}


def test_every_example_is_tested_and_named_in_the_documents() -> None:
    assert [path.name for path in EXAMPLES] == sorted(SAYS)
    page = (ROOT / "docs" / "examples.md").read_text()
    for path in EXAMPLES:
        assert path.name in page


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: Path, tmp_path: Path, monkeypatch) -> None:
    words = []
    if path.name == "classify.py":
        from sklearn.datasets import load_digits

        monkeypatch.chdir(tmp_path)
        digits = load_digits()
        images = (digits.images * 255 / 16).round().astype(np.uint8)
        np.savez("digits.npz", images=images, labels=digits.target)
        shutil.copy(weights_path("digits_resnet"), "model.pt")
        quick = ["--data", "digits.npz", "--pass", "magnitude", "--no-measure", "--quiet"]
        assert main(["model.pt", "--target-flops", "0.5", *quick, "-o", "small.onnx"]) == 0
        words = ["small.onnx"]
    run = subprocess.run(
        [sys.executable, str(path), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    assert SAYS[path.name] in run.stdout
