"""Recipe files: a run writes one, and it repeats the run."""

from __future__ import annotations

import tomllib
from pathlib import Path

import onnx
import pytest

from compressc.cli.compress import build_parser
from compressc.cli.parsing import add_pass_options
from compressc.cli.recipe_file import read_recipe, recipe_path, write_recipe
from compressc.contract.registry import find_pass
from compressc.errors import UsageError
from tests.cli.conftest import TINY, Cli
from tests.cli.test_errors import expect_one_line

HALF = ("--target-flops", "0.5", "--no-measure", "--quiet")


def test_a_run_can_be_repeated(workplace: Path, cli: Cli) -> None:
    line = (*TINY, *HALF, "--pass", "magnitude", "--norm", "l1", "--keep", "3", "-o", "small.onnx")
    assert cli(*line)[0] == 0
    document = tomllib.loads((workplace / "small.recipe.toml").read_text())
    assert document["target-flops"] == 0.5
    assert document["pass"] == [{"name": "magnitude", "norm": "l1"}]
    first = onnx.load("small.onnx").graph
    Path("small.onnx").unlink()
    assert cli("run", "small.recipe.toml") == (0, "", "")
    again = onnx.load("small.onnx").graph
    assert again.SerializeToString() == first.SerializeToString()


def test_options_of_the_command_line_replace_those_of_the_file(workplace: Path, cli: Cli) -> None:
    assert cli(*TINY, *HALF, "--pass", "magnitude", "-o", "small.onnx")[0] == 0
    assert cli("run", "small.recipe.toml", "-o", "other.onnx", "--target-flops", "0.7")[0] == 0
    assert tomllib.loads(Path("other.recipe.toml").read_text())["output"] == [
        "small.onnx",
        "other.onnx",
    ]
    assert Path("other.onnx").stat().st_size > Path("small.onnx").stat().st_size


def test_every_form_of_an_option_survives(tmp_path: Path) -> None:
    parser = build_parser()
    names = ("magnitude", "sparsify")
    add_pass_options(parser, {name: find_pass(name) for name in names})
    line = [
        *("a model.pt", "--input-shape=3,8,8;", "--keep", "a.*", "--keep", 'b"c', "--seed", "007"),
        *("--pass", "magnitude", "--ratios", "a=0.5,b=0.25", "--pass", "sparsify"),
        *("--sparsity", "0.90", "--quiet", "-o", "höhe.onnx", "--target-size", "4MB"),
    ]
    write_recipe(tmp_path / "x.recipe.toml", "compress", line, parser)
    command, arguments = read_recipe(tmp_path / "x.recipe.toml")
    assert command == "compress"
    assert arguments == [
        *("a model.pt", "--input-shape=3,8,8;", "--keep=a.*", '--keep=b"c', "--seed=007"),
        *("--quiet", "--output=höhe.onnx", "--target-size=4MB"),
        *("--pass", "magnitude", "--ratios=a=0.5,b=0.25"),
        *("--pass", "sparsify", "--sparsity=0.90"),
    ]


def test_recipes_lie_beside_the_output(tmp_path: Path) -> None:
    assert recipe_path("a/small.onnx") == Path("a/small.recipe.toml")
    assert recipe_path(tmp_path) == tmp_path / "sweep.recipe.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("a = ", "cannot be read as TOML"),
        ('command = "demo"', "give one of compress, sweep"),
        ("pass = 3", r"\[\[pass\]\]"),
        ("[[pass]]\nnorm = 'l1'", "has no name"),
        ("[data]\nx = 1", r"only \[\[pass\]\]"),
    ],
)
def test_what_is_no_recipe_is_told(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "r.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_recipe(path)


def test_an_option_that_a_recipe_misspells_is_told(workplace: Path, cli: Cli) -> None:
    Path("r.toml").write_text('model = "tiny.pt"\ntarget-flop = 0.5\noutput = "s.onnx"\n')
    expect_one_line(cli("run", "r.toml"), 2, "did you mean --target-flops")


def test_a_name_without_an_ending_gets_one(workplace: Path, cli: Cli) -> None:
    assert cli(*TINY, *HALF, "--pass", "magnitude", "-o", "small")[0] == 0
    assert Path("small.onnx").is_file()
    assert Path("small.recipe.toml").is_file()
    assert not Path("small").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epochs", "3"), "--epochs is an option of --pass finetune (or "),
        (("--sparsit", "0.9"), "did you mean --sparsity"),
        (("--targets", "0.5,0.3"), "`compressc sweep`"),
        (("second.pt",), "one model at a time"),
    ],
)
def test_options_in_the_wrong_place_say_where_they_belong(
    workplace: Path, cli: Cli, words: tuple[str, ...], said: str
) -> None:
    line = (*TINY, *HALF, "--pass", "magnitude", "--pass", "sparsify", "-o", "s.onnx", *words)
    expect_one_line(cli(*line), 2, said)


def test_help_lists_every_command(cli: Cli) -> None:
    _, out, _ = cli("--help")
    usage = out.split("options:")[0]
    for command in ("compress", "sweep", "run", "bench", "profile", "verify", "inspect", "passes"):
        assert command in usage
