"""``compressc passes``: which passes are installed and what they take."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from typing import Any

from compressc.cli.parsing import Parser, field_options
from compressc.contract.registry import find_pass, registered_passes
from compressc.errors import CompresscError
from compressc.pass_fields import list_fields


def run(arguments: Sequence[str]) -> int:
    """List the passes with their options.

    Raises:
        CompresscError: if a pass that was named is not installed.
    """
    parser = Parser(
        prog="compressc passes",
        description="List the installed passes. Each field of a pass is an option of the main "
        "command: compressc model.pt --target-flops 0.5 --pass magnitude --norm l1 -o small.onnx",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(list(arguments))
    names = options.names or sorted(registered_passes())
    rows = {name: _describe_named(name, bool(options.names)) for name in names}
    if options.json:
        print(json.dumps(rows, indent=1, default=str))
        return 0
    for name, row in rows.items():
        print(f"{name}: {row['summary']}")
        for option in row["options"]:
            print(f"    {option['flag']} {option['form']}  (default {option['default']})")
            if option["help"]:
                print(f"        {option['help']}")
        print()
    print("use: compressc model.pt --target-flops 0.5 --pass NAME [its options] -o small.onnx")
    return 0


def _describe_named(name: str, asked_for: bool) -> dict[str, Any]:
    """Describe a pass; one that cannot be imported must not hide the others."""
    try:
        return _describe(find_pass(name))
    except CompresscError as error:
        if asked_for:
            raise
        return {"summary": f"not usable: {error}", "options": []}


def explain_fields(pass_class: type) -> dict[str, str]:
    """Return what docstrings say about the hyper-parameters of a pass, by name."""
    # A field that a base class or a part brings is explained there.
    explained: dict[str, str] = {}
    parts = dict.fromkeys(flat.owner for flat in list_fields(pass_class))
    for explaining in (*reversed(pass_class.__mro__), *parts):
        explained.update(_attributes(_plain(inspect.cleandoc(explaining.__doc__ or ""))))
    return explained


def _describe(pass_class: type) -> dict[str, Any]:
    text = _plain(inspect.getdoc(pass_class) or "")
    explained = explain_fields(pass_class)
    return {
        "summary": text.split("\n\n")[0].replace("\n", " "),
        "options": [
            {
                "flag": option.flag,
                "form": option.form,
                "default": option.shown_default,
                "help": explained.get(option.field, ""),
            }
            for option in field_options(pass_class)
        ],
    }


def _plain(docstring: str) -> str:
    """Return a docstring without Sphinx markup."""
    return re.sub(r"(?::\w+:)?`+~?([^`]+)`+", r"\1", docstring)


def _attributes(docstring: str) -> dict[str, str]:
    """Return the texts of a Google-style "Attributes:" section by attribute."""
    texts: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in docstring.splitlines():
        if line.strip() in ("Attributes:", "Args:"):
            inside = True
        elif inside and line and not line.startswith(" "):
            inside = False
        elif inside and line.startswith("    ") and not line.startswith("     "):
            named, _, text = line.strip().partition(":")
            names = [name.split(" ")[0] for name in named.split(", ")]
            texts.update(dict.fromkeys(names, text.strip()))
        elif inside and line.strip():
            texts.update({name: f"{texts[name]} {line.strip()}" for name in names})
    return texts
