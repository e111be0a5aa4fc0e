"""Lazy names: what a package exports, imported when it is first used.

``import compressc`` must stay light: the runtime works on devices without torch, and ``--help``
answers at once. The names stand in one place, the package's type stub ``__init__.pyi``, as plain
``from module import Name as Name`` lines; type checkers and editors read the same file.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_stub(init_file: str) -> dict[str, tuple[str, str]]:
    """Return where every name of the stub beside ``init_file`` comes from: module, name there.

    Args:
        init_file: the ``__file__`` of a package's ``__init__.py``.
    """
    tree = ast.parse(Path(init_file).with_suffix(".pyi").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: (statement.module, alias.name)
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }


def export_lazily(
    package: str, init_file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package with a stub.

    Args:
        package: its ``__name__``.
        init_file: its ``__file__``.
    """
    homes = read_stub(init_file)

    def get_attribute(name: str) -> Any:
        if name in homes:
            module, original = homes[name]
            return getattr(importlib.import_module(module), original)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return get_attribute, lambda: sorted(homes), sorted(homes)
