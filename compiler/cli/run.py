"""``compressc run small.recipe.toml``: does what a recipe file says."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from compressc.cli.parsing import Parser
from compressc.cli.recipe_file import read_recipe

_EXAMPLES = """\
examples:
  compressc run small.recipe.toml
  compressc run small.recipe.toml -o again.onnx --seed 1      with other options

Every run writes such a file beside its output. Paths in it are meant from the current folder, as
they were when it was written."""


def run(arguments: Sequence[str]) -> int:
    """Repeat a run and return its exit code.

    Raises:
        CompresscError: as the command itself.
    """
    parser = Parser(
        prog="compressc run",
        usage="compressc run FILE.recipe.toml [options that replace those of the file]",
        description="Repeat a run from the recipe that was written beside its output.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("recipe", metavar="FILE.recipe.toml")
    options, replaced = parser.parse_known_args(list(arguments))
    command, recorded = read_recipe(Path(options.recipe))
    module = importlib.import_module(f"compressc.cli.{command}")
    exit_code: int = module.run([*recorded, *replaced])
    return exit_code
