"""What can be told of a command line in its first second, before torch is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from compressc.cli.parsing import values_of
from compressc.datasets.hub_names import PREFIX, check_installed
from compressc.errors import DataError, HandOverError, UsageError
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
        UsageError: if samples or a cost table are.
        DataError: if the data are.
        PrecisionError: if int8 would bring no speed.
    """
    if not arguments or {"-h", "--help"}.intersection(arguments):
        return
    model = arguments[0]
    if not model.startswith("-") and not Path(model).exists():
        raise HandOverError(f"{model}: no such file; check the path")
    check_data(arguments)
    for flag in ("--int8-samples", "--cost-table"):
        for name in values_of(arguments, flag):
            if not Path(name).exists():
                raise UsageError(f"{flag} {name}: no such file; check the path")
    elsewhere = {"--force-int8", "--cost-table"}.intersection(arguments)
    if "--int8" in arguments and not elsewhere:
        check_fast_int8(describe_machine())


def check_data(arguments: Sequence[str]) -> None:
    """Refuse data that are not there.

    Raises:
        DataError: if they are not, or the library for them is missing.
    """
    for source in values_of(arguments, "--data"):
        if source.startswith(PREFIX):
            check_installed(source)
        elif source != _MADE and not Path(source).exists() and not _FACTORY.fullmatch(source):
            raise DataError(
                f"{source}: there is no such folder or file, and it is no module:factory"
            )
