"""The profile command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_commands import write_linear


def test_table_json_and_page(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_linear(tmp_path / "a.onnx", 64)
    code, out, err = cli(
        "profile", "a.onnx", "--seconds", "0.1", "--json", "o.json", "--report", "o.html"
    )
    assert code == 0, err
    assert "GFLOP/s" in out
    document = json.loads((tmp_path / "o.json").read_text())
    assert sum(layer["macs"] for layer in document["layers"]) == 1024
    assert "<svg" in (tmp_path / "o.html").read_text()


def test_mistakes_are_one_line(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_linear(tmp_path / "a.onnx", 8)
    for arguments, word in (
        (("missing.onnx",), "no such file"),
        (("a.onnx", "--json", "a.onnx"), "input of this command"),
        (("a.onnx", "--threads", "0", "--quiet"), "threads 0"),
    ):
        code, _, err = cli("profile", *arguments)
        assert code != 0
        assert word in err.splitlines()[-1]
