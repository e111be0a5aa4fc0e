"""ONNX files that cannot be converted, on the command line: what works on them as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import quantize_dynamic

from tests.cli.conftest import Cli
from tests.onnx_kit import two_convolutions
from tests.whole_files.odd_files import IMAGE, ODD, condition_on_data, sequence

REASON = "node 'choice' (If) whose condition depends on the data"


@pytest.fixture
def odd_file(workplace: Path) -> Path:
    onnx.save(condition_on_data(), workplace / "odd.onnx")
    rng = np.random.default_rng(0)
    np.savez(workplace / "images.npz", x=rng.standard_normal((48, *IMAGE)).astype(np.float32))
    return workplace


def test_inspect_says_what_is_in_it_and_why_nothing_can_leave(odd_file: Path, cli: Cli) -> None:
    code, out, err = cli("inspect", "odd.onnx")
    assert code == 0, err
    assert f"nothing: {REASON}" in out
    assert "2 x Conv" in out
    assert "second" in out
    code, out, err = cli("inspect", "odd.onnx", "--json")
    assert code == 0, err
    table = json.loads(out)
    assert table["format"] == "compressc-file-inspection-1"
    assert table["reason"].startswith(REASON)
    assert table["operators"]["Gemm"] == 2
    costs = {layer["name"]: layer["macs"] for layer in table["layers"]}
    assert costs["second"] == 16 * 16 * 9 * 8 * 8
    assert table["params"] == 16 * 3 * 9 + 16 + 16 * 16 * 9 + 16 + 4 * 16 + 4 + 16


@pytest.mark.parametrize("kind", ODD)
def test_inspect_every_kind(kind: str, workplace: Path, cli: Cli) -> None:
    onnx.save(ODD[kind](), workplace / "odd.onnx")
    code, out, err = cli("inspect", "odd.onnx", "--all")
    assert code == 0, err
    assert "nothing: " in out


def test_groups_are_not_there_to_be_shown(odd_file: Path, cli: Cli) -> None:
    for words in (("--group", "*"), ("--graph", "g.json")):
        code, _, err = cli("inspect", "odd.onnx", *words)
        assert code == 21
        assert REASON in err


def test_zeros_in_compact_storage(odd_file: Path, cli: Cli) -> None:
    words = ("--sparsity", "0.8", "--storage", "compact", "--no-measure", "--report", "r.html")
    code, out, err = cli("odd.onnx", *words, "-o", "small.onnx")
    assert code == 0, err
    assert "ok  file == original but for zeros" in out
    assert "ok  compact == plain in ONNX Runtime" in out
    assert f"note: the file was taken as it is: {REASON}" in out
    assert Path("small.onnx").stat().st_size < 0.8 * Path("odd.onnx").stat().st_size
    assert REASON in Path("r.html").read_text().replace("&#39;", "'")
    before = Path("small.onnx").read_bytes()
    code, _, err = cli("run", "small.recipe.toml")
    assert code == 0, err
    assert Path("small.onnx").read_bytes() == before


def test_int8(odd_file: Path, cli: Cli) -> None:
    words = ("--int8", "--force-int8", "--int8-samples", "images.npz", "--no-measure")
    code, out, err = cli("odd.onnx", *words, "-o", "small.onnx")
    assert code == 0, err
    assert "ok  int8 ~ float32" in out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--target-flops", "0.5"), "a target needs that"),
        (("--target-latency", "0.5"), "a target needs that"),
        (("--target-size", "0.5", "--sparsity", "0.9"), "a target needs that"),
        (("--sparsity", "0.9", "--max-drop", "1"), "--max-drop needs that"),
        (("--sparsity", "0.9", "--save", "s.pt2"), "--save needs that"),
        (("--sparsity", "0.9", "--data", "."), "--data but an .npz of inputs needs that"),
        (("--sparsity", "0.9", "--engine", "sparse"), "--engine sparse needs that"),
        (("--pass", "dead"), "--pass dead needs that"),
    ],
)
def test_what_needs_the_network_is_refused(
    words: tuple[str, ...], named: str, odd_file: Path, cli: Cli
) -> None:
    code, out, err = cli("odd.onnx", *words, "--no-measure", "-o", "small.onnx")
    assert (code, out) == (21, "")
    assert f"{named}: only --sparsity and --int8 work on the file as it is" in err
    assert REASON in err
    assert not Path("small.onnx").exists()


def test_a_quantised_file_is_offered_nothing(odd_file: Path, cli: Cli) -> None:
    onnx.save(two_convolutions(), "plain.onnx")
    quantize_dynamic("plain.onnx", "integers.onnx")
    code, out, err = cli("inspect", "integers.onnx")
    assert code == 0, err
    assert "nothing: it is quantised already" in out
    for words in (
        ("--sparsity", "0.5"),
        ("--int8", "--force-int8", "--int8-samples", "images.npz"),
        ("--target-flops", "0.5"),
    ):
        code, _, err = cli("integers.onnx", *words, "--no-measure", "-o", "small.onnx")
        assert code == 21
        assert "quantised already" in err
        assert "only --sparsity" not in err
    code, _, err = cli("bench", "integers.onnx", "--rounds", "3", "--no-memory")
    assert code == 0, err


@pytest.mark.parametrize("kind", ODD)
def test_profile_bench_verify(kind: str, workplace: Path, cli: Cli) -> None:
    onnx.save(ODD[kind](), workplace / "odd.onnx")
    for words in (
        ("bench", "odd.onnx", "--rounds", "3", "--no-memory"),
        ("profile", "odd.onnx", "--seconds", "0.2"),
        ("verify", "odd.onnx", "reference.npz", "--store"),
    ):
        code, _, err = cli(*words)
        assert code == 0, err


def test_sequences_are_verified_entry_by_entry(workplace: Path, cli: Cli) -> None:
    onnx.save(sequence(), workplace / "odd.onnx")
    code, out, err = cli("verify", "odd.onnx", "reference.npz", "--store")
    assert code == 0, err
    assert "y[3]" in out
    stored = dict(np.load("reference.npz"))
    stored["output:y[2]"] = stored["output:y[2]"] + 1
    np.savez("wrong.npz", **stored)
    code, _, err = cli("verify", "odd.onnx", "wrong.npz")
    assert code == 6
    assert "output 'y[2]' differs" in err
    stored["output:y[4]"] = stored["output:y[3]"]
    del stored["output:y[2]"]
    np.savez("longer.npz", **stored)
    code, _, err = cli("verify", "odd.onnx", "longer.npz")
    assert code == 6
    assert "'y[4]' is not computed any more" in err
