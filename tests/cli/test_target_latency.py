"""A latency as the target on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compressc.cli.compress import build_parser
from compressc.runtime.cost_store import read_table
from tests.cli.conftest import TINY, Cli

TARGET = (*TINY, "-o", "small.onnx")


@pytest.fixture
def device(workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table that another machine wrote for the uncompressed file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(workplace / "cache"))
    monkeypatch.setattr("compressc.runtime.kernel_list._SECONDS", 0.02)
    monkeypatch.setattr("compressc.runtime.kernel_list._WARM_UP_SECONDS", 0.02)
    monkeypatch.setattr("compressc.passes.latency.meeting._SECONDS", 0.2)
    code, _, err = cli(
        *TINY,
        "--pass",
        "magnitude",
        "--ratios",
        "*=1",
        "--no-measure",
        "--quiet",
        "-o",
        "full.onnx",
    )
    assert code == 0, err
    code, _, err = cli("profile", "full.onnx", "--cost-table", "device.json", "--quiet")
    assert code == 0, err
    # Times of so small a network are all overhead; this device is slow and has none.
    table = read_table(workplace / "device.json")
    cells = {
        kind: {widths: float(np.prod([-(-width // 16) for width in widths])) for widths in found}
        for kind, found in table.cells.items()
    }
    (listing,) = table.networks.values()
    slow = replace(table, cells=cells, node_ms=1e-4, call_ms=1e-4)
    slow = replace(slow, networks={"full.onnx": replace(listing, latency_ms={})})
    path = workplace / "device.json"
    path.write_text(slow.to_json())
    return path


def test_a_device_is_aimed_at_without_naming_a_pass(
    device: Path, workplace: Path, cli: Cli
) -> None:
    code, out, err = cli(
        *TARGET,
        "--target-latency",
        "0.9",
        "--cost-table",
        str(device),
        "--report",
        "r.json",
        "--no-measure",
    )
    assert code == 0, err
    assert (workplace / "small.onnx").exists()
    report = json.loads((workplace / "r.json").read_text())
    assert [row["name"] for row in report["passes"]] == ["latency", "calibrate"]
    (check,) = [c for c in report["verdict"]["checks"] if c["name"] == "latency goal"]
    assert check["passed"]
    assert "predicted, not measured" in check["text"]
    assert report["goal"]["latency"] == "0.9 of the original at p50"
    assert "latency goal" in out


@pytest.mark.parametrize("target", ["0", "1.5", "abc", "5s", "150%", "-1", "5ms@p42"])
def test_targets_that_make_no_sense(workplace: Path, cli: Cli, target: str) -> None:
    code, _, err = cli(*TARGET, f"--target-latency={target}")
    assert code != 0
    assert "latency target" in err
    assert err.count("\n") == 1
    assert not (workplace / "small.onnx").exists()


def test_out_of_reach_says_how_far_it_goes(device: Path, workplace: Path, cli: Cli) -> None:
    arguments = ("--target-latency", "0.0001", "--cost-table", str(device), "--no-measure")
    code, _, err = cli(*TARGET, *arguments)
    assert code != 0
    assert "narrowest plan takes about" in err
    assert "of the original" in err
    assert not (workplace / "small.onnx").exists()


def test_tables_that_do_not_fit_are_refused(device: Path, workplace: Path, cli: Cli) -> None:
    target = ("--target-latency", "0.9", "--no-measure", "--cost-table")
    code, _, err = cli(*TARGET, *target, str(device), "--threads", "2")
    assert code != 0
    assert "1 threads, not 2" in err
    (workplace / "torn.json").write_text(device.read_text()[:-50])
    code, _, err = cli(*TARGET, *target, "torn.json")
    assert code != 0
    assert "torn.json: not a cost table" in err
    code, _, err = cli(*TARGET, *target, "nowhere.json")
    assert code != 0
    assert "nowhere.json: no such file" in err
    code, _, err = cli(*TARGET, "--target-flops", "0.5", "--cost-table", str(device))
    assert code == 2
    assert "--target-latency" in err
    onto_itself = ("-o", str(device), "--target-latency", "0.5", "--cost-table", str(device))
    code, _, err = cli(*TINY, *onto_itself)
    assert code != 0
    assert read_table(device).size
    assert not (workplace / "small.onnx").exists()


def test_the_help_teaches_the_forms() -> None:
    text = " ".join(build_parser().format_help().split())
    for word in ("--target-latency", "0.5", "5ms", "5ms@p90", "--cost-table"):
        assert word in text
