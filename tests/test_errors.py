"""Errors: one home, one exit code each, and a table in the docs that lists them all."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from compressc import errors
from compressc.cli import main
from compressc.errors import CompresscError
from compressc.runtime.errors import RuntimeFailure

ROOT = Path(__file__).parents[1]


def classes() -> dict[str, int]:
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {kind.__name__: kind.exit_code for kind in (*ours, RuntimeFailure)}


def test_every_class_has_an_exit_code_of_its_own() -> None:
    codes = classes()
    assert len(set(codes.values())) == len(codes)
    own = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all("exit_code" in vars(kind) for kind in own)
    assert not {0, main.OUT_OF_MEMORY_EXIT_CODE, main.SYSTEM_EXIT_CODE} & set(codes.values())


def test_the_table_in_the_docs_lists_every_class_with_its_code() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    listed = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.M)}
    assert listed == classes()
    others = {int(code) for code in re.findall(r"^\| (\d+) \| \|", text, re.M)}
    assert others == {
        0,
        main.OUT_OF_MEMORY_EXIT_CODE,
        main.SYSTEM_EXIT_CODE,
        main.INTERRUPTED_EXIT_CODE,
    }


def test_errors_for_users_are_defined_in_one_file() -> None:
    names = set(classes()) | {CompresscError.__name__}
    elsewhere = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for folder in ("compiler", "passes", "runtime", "models")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(getattr(base, "id", "") in names for base in node.bases)
        and path != ROOT / "compiler" / "errors.py"
    ]
    assert elsewhere == []
