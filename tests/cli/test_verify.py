"""The verify command: exit codes, what it writes, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_commands import write_linear


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_linear(tmp_path / "a.onnx", 64)
    write_linear(tmp_path / "b.onnx", 32)
    return tmp_path


def test_store_then_verify(folder: Path, cli: Cli) -> None:
    code, out, err = cli("verify", "a.onnx", "r.npz", "--store", "--seed", "4")
    assert code == 0, err
    assert "seed 4" in out
    code, out, err = cli("verify", "a.onnx", "r.npz", "--json", "o.json", "--threads", "2")
    assert code == 0, err
    assert "2x64" in out
    document = json.loads((folder / "o.json").read_text())
    assert (document["passed"], document["threads"]) == (True, 2)


def test_a_mismatch_is_one_line_and_exit_code_6(folder: Path, cli: Cli) -> None:
    assert cli("verify", "a.onnx", "r.npz", "--store")[0] == 0
    code, _, err = cli("verify", "b.onnx", "r.npz", "--json", "o.json")
    assert code == 6
    assert "has shape 2x32, the reference 2x64" in err
    assert err.count("\n") == 1
    assert json.loads((folder / "o.json").read_text())["passed"] is False


def test_the_reference_never_overwrites_the_model(folder: Path, cli: Cli) -> None:
    before = (folder / "a.onnx").read_bytes()
    code, _, err = cli("verify", "a.onnx", "a.onnx", "--store")
    assert code == 7
    assert "input of this command" in err
    assert (folder / "a.onnx").read_bytes() == before
    code, _, err = cli("verify", "a.onnx", "missing.npz")
    assert code == 17
    assert "no such file" in err
