"""The smaller commands: inspect, passes, bench, help."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressc.cli.main import COMMANDS
from tests.cli.conftest import TINY, Cli


def write_linear(path: Path, width: int) -> None:
    weight = numpy_helper.from_array(np.ones((16, width), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)


def test_help_names_every_command_and_gives_examples(cli: Cli) -> None:
    for arguments in (("--help",), ("-h",), ("help",)):
        code, out, _ = cli(*arguments)
        assert code == 0
        for name in COMMANDS:
            assert f"\n  {name} " in out
        assert "--trust-pickle" in out
        assert "compressc model.pt --target-flops 0.5 -o small.onnx" in out


@pytest.mark.parametrize("command", [*COMMANDS])
def test_every_command_has_help(cli: Cli, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli(command, "--help")
    assert caught.value.code == 0
    assert "usage: compressc" in capsys.readouterr().out


def test_nothing_at_all_shows_help(cli: Cli) -> None:
    code, out, _ = cli()
    assert code == 2
    assert "usage: compressc" in out


def test_version(cli: Cli) -> None:
    code, out, _ = cli("--version")
    assert code == 0
    assert out.startswith("compressc ")


def test_inspect_shows_groups_pins_and_macs(workplace: Path, cli: Cli) -> None:
    code, out, err = cli("inspect", *TINY)
    assert code == 0, err
    assert "2 prunable with 48 units" in out
    assert "output" in out
    assert "conv2d" in out
    code, out, _ = cli("inspect", *TINY, "--group", "0")
    assert code == 0
    assert "0.weight axis 0: 16 slices" in out
    assert "read by 3.weight axis 1" in out


def test_inspect_json_adds_up(workplace: Path, cli: Cli) -> None:
    code, out, err = cli("inspect", *TINY, "--keep", "3", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["macs"] == sum(layer["macs"] for layer in found["layers"])
    assert {group["name"]: group["pinned"] for group in found["groups"]}["3"] == "kept by --keep 3"
    assert found["least_macs"] < found["macs"]


def test_passes_lists_options_with_help(cli: Cli) -> None:
    code, out, _ = cli("passes")
    assert code == 0
    for word in ("magnitude", "random", "sparsify", "--norm l1|l2", "--sparsity X"):
        assert word in out
    code, out, _ = cli("passes", "magnitude", "--json")
    assert code == 0
    flags = {option["flag"]: option for option in json.loads(out)["magnitude"]["options"]}
    assert flags["--norm"]["help"]


def test_every_option_of_every_pass_is_explained(cli: Cli) -> None:
    rows = json.loads(cli("passes", "--json")[1])
    assert {"finetune", "distill", "magnitude"} <= set(rows)
    options = [(name, one["flag"], one["help"]) for name in rows for one in rows[name]["options"]]
    assert [(name, flag) for name, flag, text in options if not text] == []


def test_bench_prints_the_ratio_and_writes_json(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_linear(tmp_path / "a.onnx", 64)
    write_linear(tmp_path / "b.onnx", 32)
    code, out, err = cli(
        "bench", "a.onnx", "b.onnx", "--rounds", "5", "--no-memory", "--json", "o.json"
    )
    assert code == 0, err
    for word in ("1 (reference)", "p50", "a.onnx", "b.onnx", "interleaved rounds"):
        assert word in out
    document = json.loads((tmp_path / "o.json").read_text())
    assert [file["macs"] for file in document["files"]] == [1024, 512]
    assert "preparing a.onnx" in err
