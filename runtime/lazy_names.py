"""Lazy names: what a package exports, imported when it is first used.

``import compressc`` must stay light: the runtime works on devices without torch, and ``--help``
answers at once. The names stand in one place, the package's type stub ``__init__.pyi``, as plain
``from module import Name as Name`` lines; type checkers and editors read the same file.
"""

from __future__ import annotations

import importlib

# For annotations alone: importing more would take longer than everything else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NAMES = "__all__"


def read_stub(init_file: str) -> dict[str, tuple[str, str]]:
    """Return where every name of the stub beside ``init_file`` comes from: module, name there.

    Args:
        init_file: the ``__file__`` of a package's ``__init__.py``.
    """
    homes = {}
    # pathlib would take longer to import than this package.
    with open(init_file.removesuffix(".py") + ".pyi", encoding="utf-8") as stub:  # noqa: PTH123
        for line in stub:
            words = line.split()
            # from MODULE import ORIGINAL as NAME
            if words[:1] == ["from"] and words[4:5] == ["as"]:
                homes[words[5]] = (words[1], words[3])
    return homes


def export_lazily(
    package: str, init_file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__``, which also answers for ``__all__``, and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        init_file: its ``__file__``; the stub beside it is read when the first name is used.
    """
    homes: dict[str, tuple[str, str]] = {}

    def names() -> list[str]:
        if not homes:
            homes.update(read_stub(init_file))
        return sorted(homes)

    def get_attribute(name: str) -> Any:
        known = names()
        if name == _NAMES:
            return known
        if name in homes:
            module, original = homes[name]
            return getattr(importlib.import_module(module), original)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return get_attribute, names
