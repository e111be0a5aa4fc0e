"""``hf:NAME`` on the command line: what can be told of it before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec

from compressc.errors import DataError

PREFIX = "hf:"


def check_installed(source: str) -> None:
    """Refuse ``hf:NAME`` where the library for it is missing.

    Raises:
        DataError: if it is.
    """
    if find_spec("datasets") is None:
        raise DataError(
            f"{source}: needs the package datasets (pip install compressc[hub]); a folder of "
            "images works without"
        )
