"""The registry: installed passes, found by name through entry points."""

from __future__ import annotations

from importlib.metadata import entry_points

from compressc.contract.declaration import Pass
from compressc.error_text import name_error
from compressc.errors import CompresscError

ENTRY_POINT_GROUP = "compressc.passes"


def registered_passes() -> dict[str, str]:
    """Return the installed passes: name to ``module:attribute``, without importing them."""
    return {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}


def find_pass(name: str) -> type[Pass]:
    """Return the pass class registered under ``name``.

    Raises:
        CompresscError: if no installed package registers the name, or it cannot be imported.
    """
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            try:
                pass_class: type[Pass] = entry.load()
            except Exception as error:
                lacking = error.name if isinstance(error, ImportError) else None
                cure = f"install {lacking}" if lacking else ""
                raise CompresscError(
                    f"pass '{name}' cannot be imported ({name_error(error)}); "
                    f"{cure or 'repair or remove the package that brings ' + entry.value}"
                ) from error
            return pass_class
    known = ", ".join(sorted(registered_passes())) or "none; reinstall compressc"
    raise CompresscError(f"no pass is called '{name}'; installed passes: {known}")
