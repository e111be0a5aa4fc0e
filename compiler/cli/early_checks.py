"""What can be told of a command line in its first second, before torch is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from compressc.cli.parsing import values_of
from compressc.datasets.hub_names import PREFIX, check_installed
from compressc.errors import DataError, HandOverError
from compressc.fast_int8 import check_fast_int8
from compressc.runtime.machine import describe_machine

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_MADE = "synthetic"


def check_early(arguments: Sequence[str]) -> None:
    """Refuse files that are not there, and int8 that this processor is not fast at.

    Args:
        arguments: the command line, before it is parsed; the model is its first word.

    Raises:
        HandOverError: if the model's file is missing.
        DataError: if the data are.
        PrecisionError: if int8 would bring no speed.
    """
    if not arguments or {"-h", "--help"}.intersection(arguments):
        return
    model = arguments[0]
    if not model.startswith("-") and not Path(model).exists():
        raise HandOverError(f"{model}: no such file; check the path")
    for source in values_of(arguments, "--data"):
        if source.startswith(PREFIX):
            check_installed(source)
        elif source != _MADE and not Path(source).exists() and not _FACTORY.fullmatch(source):
            raise DataError(
                f"{source}: there is no such folder or file, and it is no module:factory"
            )
    elsewhere = {"--force-int8", "--cost-table"}.intersection(arguments)
    if "--int8" in arguments and not elsewhere:
        check_fast_int8(describe_machine())
