"""``compressc sweep`` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import TINY, Cli
from tests.cli.test_resuming import kill_when

COMMON = ("sweep", *TINY, "--no-measure", "--multiple-of", "4", "-o", "front")


def test_a_table_a_page_and_files(workplace: Path, cli: Cli) -> None:
    code, out, err = cli(*COMMON, "--targets", "0.8, 0.5,0.5,0.0001", "--pass", "magnitude")
    assert code == 0, err
    assert "0.0001 was not met: macs target 0.0001 cannot be reached" in out
    names = {path.name for path in (workplace / "front").iterdir()}
    assert names == {
        *("original.onnx", "sweep.json", "sweep.html", "sweep.recipe.toml"),
        *("macs-0.8.onnx", "macs-0.8.json", "macs-0.5.onnx", "macs-0.5.json"),
    }
    rows = json.loads((workplace / "front" / "sweep.json").read_text())["rows"]
    assert rows[2]["macs"] <= 0.5 * rows[0]["macs"]


def test_other_kinds_and_int8(workplace: Path, cli: Cli) -> None:
    x = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    np.savez(workplace / "samples.npz", x=x)
    code, out, err = cli(
        *COMMON, "--target-kind", "params", "--targets", "60%", "--force-int8", "--int8-samples",
        "samples.npz", "--no-repair",
    )  # fmt: skip
    assert code == 0, err
    assert "samples.npz" in out  # drift is measured on them
    assert (workplace / "front" / "params-0.6.onnx").exists()


def test_it_fails_if_nothing_can_be_met(workplace: Path, cli: Cli) -> None:
    code, out, err = cli(*COMMON, "--targets", "0.0001")
    assert code == 4
    assert "not met" in out
    assert err.splitlines()[-1].startswith("compressc: error: no target could be met; 0.0001:")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--targets", ","), "give at least one"),
        (("--targets", "half"), "not a number"),
        (("--targets", "0.5", "--threads", "0"), "1 or more"),
        (("--targets", "0.5", "--cost-table", "tiny.pt"), "needs --target-kind latency"),
        (("--targets", "0.5", "--target-kind", "joules"), "invalid choice"),
        (("--targets", "soon", "--target-kind", "latency"), "give a ratio such as 0.5"),
        ((), "--targets"),
    ],
)
def test_bad_calls_are_one_line(
    workplace: Path, cli: Cli, words: tuple[str, ...], said: str
) -> None:
    code, out, err = cli(*COMMON, *words)
    assert code in (2, 4)
    assert said in err.splitlines()[-1]
    assert out == ""
    assert not (workplace / "front").exists()


@pytest.mark.slow
def test_killed_and_started_again_it_goes_on(workplace: Path) -> None:
    words = [sys.executable, "-m", "compressc", *COMMON, "--targets", "0.8,0.6,0.5"]
    kill_when(workplace, "front/sweep.json", words)
    assert not (workplace / "front" / "macs-0.5.onnx").exists()
    before = (workplace / "front" / "macs-0.8.onnx").stat().st_mtime_ns
    finished = subprocess.run(words, cwd=workplace, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert (workplace / "front" / "macs-0.8.onnx").stat().st_mtime_ns == before
    rows = json.loads((workplace / "front" / "sweep.json").read_text())["rows"]
    assert [row["target"] for row in rows] == ["original", "0.8", "0.6", "0.5"]
