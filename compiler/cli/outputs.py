"""Output files, checked before any work is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from compressc.errors import OutputError
from compressc.writing import check_writable


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Check that every output can be written and that none overwrites another file of this run.

    Raises:
        OutputError: naming the file and what is wrong with it.
    """
    taken = {path.resolve(): "an input of this command" for path in inputs}
    for path in outputs:
        check_writable(path)
        if path.resolve() in taken:
            raise OutputError(f"{path}: is {taken[path.resolve()]}; choose another name")
        taken[path.resolve()] = "named for two outputs"
