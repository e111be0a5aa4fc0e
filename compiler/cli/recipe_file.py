"""Recipe files: a command line as TOML, so that a run can be read, kept and repeated.

Every option is a key of its name without dashes; ``model`` is the first word. Passes are tables of
their own, in order, each with the options that stand behind it::

    command = "compress"
    model = "model.pt"
    target-flops = 0.5
    output = "small.onnx"

    [[pass]]
    name = "magnitude"
    norm = "l1"
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compressc.errors import UsageError
from compressc.writing import write_text

_COMMANDS = ("compress", "sweep", "search")
_SHORT = {"-o": "--output"}
_ENDING = ".recipe.toml"
_ADVICE = "compressc writes such files beside its outputs"

Value = str | int | float | bool


def recipe_path(output: str | Path) -> Path:
    """Return where the recipe of an output goes: small.recipe.toml beside small.onnx."""
    path = Path(output)
    return path / f"sweep{_ENDING}" if path.is_dir() else path.with_suffix(_ENDING)


def write_recipe(
    path: Path, command: str, arguments: Sequence[str], parser: argparse.ArgumentParser
) -> None:
    """Write a command line as a recipe.

    Args:
        path: the file.
        command: "compress", "sweep" or "search".
        arguments: as typed; the parser has accepted them.
        parser: knows which options take a value.

    Raises:
        OutputError: if the file cannot be written.
    """
    top: dict[str, list[Value]] = {}
    passes: list[dict[str, list[Value]]] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            top.setdefault("model", []).append(word)
            continue
        flag, equals, value = word.partition("=")
        flag = _SHORT.get(flag, flag)
        action = parser._option_string_actions[flag]
        given = True if action.nargs == 0 else _value_of(value if equals else words.pop(0))
        name = flag.removeprefix("--")
        if name == "pass":
            passes.append({"name": [given]})
        elif passes and action.dest.startswith("_"):
            passes[-1].setdefault(name, []).append(given)
        else:
            top.setdefault(name, []).append(given)
    lines = [
        f"# Made by compressc {version('compressc')}. Repeat it, from the same folder, with",
        f"#   compressc run {path.name}",
        f"command = {_toml(command)}",
        *_lines(top),
    ]
    for entry in passes:
        lines += ["", "[[pass]]", *_lines(entry)]
    write_text(path, "\n".join(lines) + "\n")


def read_recipe(path: Path) -> tuple[str, list[str]]:
    """Return the command of a recipe and its arguments.

    Raises:
        UsageError: if there is no such file, or it is no recipe.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; {_ADVICE}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as TOML ({error})") from error
    command = document.pop("command", "compress")
    if command not in _COMMANDS:
        raise UsageError(f"{path}: command {command!r}; give one of {', '.join(_COMMANDS)}")
    passes = document.pop("pass", [])
    if not isinstance(passes, list) or not all(isinstance(entry, dict) for entry in passes):
        raise UsageError(f"{path}: write each pass as a table, [[pass]] with name = ...")
    models = document.pop("model", [])
    arguments = [str(model) for model in (models if isinstance(models, list) else [models])]
    arguments += _arguments(path, document)
    for entry in passes:
        if not isinstance(entry.get("name"), str):
            raise UsageError(f'{path}: a [[pass]] has no name; write name = "magnitude" or so')
        options = {name: value for name, value in entry.items() if name != "name"}
        arguments += ["--pass", entry["name"], *_arguments(path, options)]
    return command, arguments


def _arguments(path: Path, options: Mapping[str, Any]) -> list[str]:
    arguments: list[str] = []
    for name, value in options.items():
        for single in value if isinstance(value, list) else [value]:
            if isinstance(single, dict):
                raise UsageError(f"{path}: [{name}] is a table; only [[pass]] may be one")
            if single is True:
                arguments.append(f"--{name}")
            elif single is not False:
                arguments.append(f"--{name}={single}")
    return arguments


def _value_of(text: str) -> Value:
    """Return a number for a text that is written as TOML would write it, else the text."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text and text not in ("nan", "inf", "-inf"):
            return number
    return text


def _lines(options: Mapping[str, list[Value]]) -> list[str]:
    return [
        f"{name} = {_toml(values[0]) if len(values) == 1 else _toml_list(values)}"
        for name, values in options.items()
    ]


def _toml_list(values: Sequence[Value]) -> str:
    return f"[{', '.join(map(_toml, values))}]"


def _toml(value: Value) -> str:
    # Strings of JSON are strings of TOML.
    return json.dumps(value, ensure_ascii=False)
