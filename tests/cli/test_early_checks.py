"""What is wrong with a command line is told before torch is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compressc.cli import early_checks
from compressc.cli.early_checks import check_early
from compressc.errors import DataError, HandOverError, PrecisionError

SCRIPT = """
import sys
from compressc.cli.main import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules, "torch was loaded"
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("missing.pt", "--target-flops", "0.5", "-o", "x.onnx"), 10, "missing.pt: no such file"),
        (("sweep", "no.pt", "--targets", "0.5", "-o", "x"), 10, "no.pt: no such file"),
        (("here", "--target-flops", "0.5", "--data", "no", "-o", "x.onnx"), 11, "no: there is no"),
        (("search", "--space", "darts", "--data", "no", "-o", "x.onnx"), 11, "no: there is no"),
        (("inspect", "no.pt"), 10, "no.pt: no such file"),
        (("here", "--target-flops", "0.5", "-o", "here"), 7, "here: is an input"),
        (("here", "--target-flops", "0.5", "-o", "x.onnx", "--save", "x.onnx"), 7, "two outputs"),
        (("here", "--target-flops", "0.5", "-o", "no/x.onnx"), 7, "no does not exist"),
        (("here", "--target-flops", "0.5", "-o", "x.onnx", "--report", "x.txt"), 7, "a report is"),
        (("sweep", "here", "--targets", "0.5", "-o", "here"), 7, "here: is a file"),
        (("search", "--space", "darts", "--data", "here", "-o", "x.pt"), 7, "-o writes ONNX"),
        (("here", "-o", "x.onnx"), 2, "say how small"),
        (("here", "--target-flops", "0.5"), 2, "say where the result goes"),
        (("here", "--target-flops", "half", "-o", "x.onnx"), 4, "not a number"),
        (("here", "--pass", "magnitude", "--target-flops", "0.5", "-o", "here"), 7, "input"),
        (("here", "--target-latency", "0.5", "--cost-table", "no", "-o", "x.onnx"), 2, "no such"),
        (("here", "--int8", "--int8-samples", "no.npz", "-o", "x.onnx"), 2, "no.npz: no such"),
    ],
)
def test_what_is_wrong_is_told_without_torch(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "here").write_text("")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == code, run.stderr
    assert said in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_processor_without_fast_int8_is_told_first(tmp_path, monkeypatch) -> None:
    def refuse(machine: object) -> None:
        raise PrecisionError("int8 brings no speed here")

    model = tmp_path / "m.pt"
    model.write_text("")
    monkeypatch.setattr(early_checks, "check_fast_int8", refuse)
    with pytest.raises(PrecisionError):
        check_early([str(model), "--int8"])
    check_early([str(model), "--int8", "--force-int8"])
    check_early([str(model)])


def test_factories_made_inputs_and_help_pass(tmp_path: Path) -> None:
    model = tmp_path / "m.pt"
    model.write_text("")
    check_early([str(model), "--data", "my.task:build"])
    check_early([str(model), "--data=synthetic"])
    check_early(["missing.pt", "--help"])
    check_early(["--target-flops", "0.5"])
    with pytest.raises(DataError):
        check_early([str(model), "--data", "nowhere"])
    with pytest.raises(HandOverError):
        check_early(["missing.pt"])
