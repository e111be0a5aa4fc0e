"""The main job from the command line, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import compressc
from compressc.coupling.graph import cost_of
from tests.cli.conftest import TINY, Cli, build_tiny


def outputs(path: Path, batch: int) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((batch, 3, 8, 8)).astype(np.float32)
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    return found


@pytest.fixture
def pickled(workplace: Path) -> Path:
    torch.save(build_tiny(), workplace / "pickled.pt")
    return workplace


def test_one_command_writes_every_output(workplace: Path, cli: Cli) -> None:
    code, out, err = cli(
        *TINY,
        *("--target-flops", "0.5", "-o", "small.onnx"),
        *("--save", "small.pt2", "--report", "small.json", "--multiple-of", "4"),
    )
    assert code == 0, err
    for word in ("MACs", "FLOPs", "params", "ONNX file", "latency p50", "1 thread", "small.onnx"):
        assert word in out
    assert "lowered == masked" in out
    report = json.loads((workplace / "small.json").read_text())
    assert report["verdict"]["passed"] is True
    assert 0.3 < report["after"]["macs"] / report["before"]["macs"] <= 0.5
    assert report["after"]["flops"] == 2 * report["after"]["macs"]
    assert report["after"]["file_bytes"] == (workplace / "small.onnx").stat().st_size
    assert all(row["widths_after"][1] % 4 == 0 for row in report["layers"])
    properties = {p.key: p.value for p in onnx.load("small.onnx").metadata_props}
    assert properties["compressc.macs"] == str(report["after"]["macs"])
    assert set(json.loads(properties["compressc.verified"])) == {
        check["name"] for check in report["verdict"]["checks"]
    }
    assert outputs(workplace / "small.onnx", 3).shape == (3, 4)
    reloaded = compressc.load("small.pt2")
    assert cost_of(reloaded).macs == report["after"]["macs"]


def test_quiet_prints_nothing(workplace: Path, cli: Cli) -> None:
    code, out, err = cli(
        "compress", *TINY, "--target-params", "0.6", "-o", "s.onnx", "--quiet", "--no-measure"
    )
    assert (code, out, err) == (0, "", "")
    assert (workplace / "s.onnx").exists()


def test_plain_progress_lines_name_the_stages(workplace: Path, cli: Cli) -> None:
    _, _, err = cli(*TINY, "--target-flops", "0.5", "-o", "s.onnx", "--no-measure")
    stages = ("making synthetic inputs", "running surgeon", "running calibrate")
    assert all(stage in err for stage in stages)
    assert "proving that lowered == masked" in err
    assert "\x1b" not in err


def test_sparsity_alone_runs_sparsify_and_compact_storage_is_smaller(
    workplace: Path, cli: Cli
) -> None:
    for storage in ("dense", "compact"):
        code, _, err = cli(
            *TINY, "--sparsity", "0.9", "--storage", storage, "-o", f"{storage}.onnx",
            "--no-measure",
        )  # fmt: skip
        assert code == 0, err
    dense, compact = workplace / "dense.onnx", workplace / "compact.onnx"
    assert compact.stat().st_size < dense.stat().st_size
    np.testing.assert_array_equal(outputs(dense, 2), outputs(compact, 2))


def test_a_size_target_is_the_size_of_the_file(workplace: Path, cli: Cli) -> None:
    code, _, err = cli(*TINY, "--target-size", "0.7", "-o", "s.onnx", "--no-measure")
    assert code == 0, err
    compressed = (workplace / "s.onnx").stat().st_size
    code, _, err = cli(*TINY, "--target-size", "16kB", "-o", "k.onnx", "--no-measure")
    assert code == 0, err
    assert (workplace / "k.onnx").stat().st_size <= 16_000
    assert compressed > 0


def test_kept_layers_stay(workplace: Path, cli: Cli) -> None:
    code, _, err = cli(
        *TINY, "--target-flops", "0.6", "--keep", "0", "-o", "s.onnx", "--report", "r.json",
        "--no-measure",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads((workplace / "r.json").read_text())
    assert report["layers"][0]["widths_after"] == report["layers"][0]["widths_before"]
    assert any("--keep 0" in pin["reason"] for pin in report["pins"])


def test_a_pickled_module_needs_trust(pickled: Path, cli: Cli) -> None:
    arguments = ("pickled.pt", "--input-shape", "3,8,8", "--target-flops", "0.5", "-o", "s.onnx")
    code, _, err = cli(*arguments, "--no-measure")
    assert code == 10
    assert "--trust-pickle" in err
    assert not (pickled / "s.onnx").exists()
    code, _, err = cli(*arguments, "--no-measure", "--trust-pickle")
    assert code == 0, err


def test_the_same_seed_gives_the_same_model(workplace: Path, cli: Cli) -> None:
    plans = []
    for name in ("a.onnx", "b.onnx"):
        code, _, err = cli(
            *TINY, "--target-flops", "0.5", "--pass", "random", "--seed", "3", "-o", name,
            "--no-measure",
        )  # fmt: skip
        assert code == 0, err
        properties = {p.key: p.value for p in onnx.load(name).metadata_props}
        plans.append(properties["compressc.plan"])
    assert plans[0] == plans[1]


def test_the_report_is_a_page(workplace: Path, cli: Cli) -> None:
    code, _, err = cli(*TINY, "--target-flops", "0.5", "--report", "r.html", "--no-measure")
    assert code == 0, err
    page = (workplace / "r.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "tiny.pt" in page


def test_ratios_per_layer_need_no_target(workplace: Path, cli: Cli) -> None:
    code, _, err = cli(
        *TINY, "--ratios", "0=0.5,3=0.75", "--multiple-of", "1", "--report", "r.json",
        "--no-measure",
    )  # fmt: skip
    assert code == 0, err
    layers = json.loads((workplace / "r.json").read_text())["layers"]
    assert [row["widths_after"][1] for row in layers] == [8, 24, 4]


@pytest.mark.slow
def test_a_low_rank_pass_is_named_with_its_energy(workplace: Path, cli: Cli) -> None:
    code, _, err = cli(
        *(*TINY, "--pass", "lowrank", "--energy", "0.6", "--multiple-of", "1"),
        *("-o", "r.onnx", "--report", "r.json"),
    )
    assert code == 0, err
    report = json.loads((workplace / "r.json").read_text())
    assert report["after"]["macs"] < report["before"]["macs"]
    assert report["passes"][0]["settings"]["energy"] == 0.6
    assert any("relative error" in note for note in report["passes"][0]["notes"])
    assert outputs(workplace / "r.onnx", 2).shape == (2, 4)


def test_statistics_can_be_frozen(workplace: Path, cli: Cli) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.GroupNorm(1, 16), torch.nn.Conv2d(16, 32, 3),
        torch.nn.ReLU(), torch.nn.Conv2d(32, 4, 1),
    )  # fmt: skip
    exported = torch.export.export(model.eval(), (torch.randn(2, 3, 8, 8),))
    torch.export.save(exported, workplace / "norm.pt2")
    widths = {}
    for name, flags in (("free", []), ("frozen", ["--freeze-statistics"])):
        code, _, err = cli(
            *("norm.pt2", "--target-flops", "0.6", "--multiple-of", "1", "--no-measure", *flags),
            *("-o", f"{name}.onnx", "--report", f"{name}.json"),
        )
        assert code == 0, err
        report = json.loads((workplace / f"{name}.json").read_text())
        widths[name] = [row["widths_after"][1] for row in report["layers"]]
    assert widths["free"][0] < 16
    assert widths["frozen"][0] == 16


def test_the_bare_cut_makes_no_inputs(workplace: Path, cli: Cli) -> None:
    words = (*TINY, "--target-flops", "0.5", "-o", "s.onnx", "--no-measure", "--no-repair")
    code, out, err = cli(*words)
    assert code == 0, err
    assert "running magnitude" in err
    assert "synthetic" not in err
    assert "accuracy: not measured" in out
    code, _, err = cli(*words, "--data", "synthetic")
    assert code == 2
    assert "contradict each other" in err


def test_synthetic_inputs_serve_named_passes_when_asked_for(workplace: Path, cli: Cli) -> None:
    words = (*TINY, "--target-flops", "0.5", "-o", "s.onnx", "--no-measure")
    passes = ("--pass", "magnitude", "--pass", "calibrate")
    code, _, err = cli(*words, *passes)
    assert code == 11
    assert "--data synthetic" in err
    code, out, err = cli(*words, *passes, "--data", "synthetic", "--repair-seconds", "5")
    assert code == 0, err
    assert "all 1 batch norms are fresh" in out
    code, _, err = cli(*words, *passes, "--data", "synthetic", "--repair-seconds", "0")
    assert code != 0
    assert "above 0" in err


def test_pictures_without_labels_repair_and_judge(workplace: Path, cli: Cli) -> None:
    np.savez("x.npz", np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8))
    words = (*TINY, "--target-flops", "0.5", "-o", "s.onnx", "--no-measure", "--data", "x.npz")
    code, out, err = cli(*words)
    assert code == 0, err
    assert "running calibrate" in err
    assert "pictures of x.npz" in out
    code, _, err = cli(*words, "--pass", "magnitude", "--pass", "finetune")
    assert code == 11
    assert "take --pass distill" in err
