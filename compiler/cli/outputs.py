"""Output files: checked before any work is done, written at its end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from compressc.errors import OutputError, UsageError
from compressc.exclusive import exclusive
from compressc.reporting.report_name import check_report_name
from compressc.writing import check_writable, written_together

if TYPE_CHECKING:
    from compressc.compression import Result
    from compressc.whole_files.compression import FileResult


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


def check_result_outputs(options: argparse.Namespace, inputs: Iterable[Path] = ()) -> None:
    """Check ``--output``, ``--save`` and ``--report`` before any work is done.

    Raises:
        UsageError: if none of them is given.
        OutputError: naming the file and what is wrong with it.
    """
    paths = [Path(p) for p in (options.output, options.save, options.report) if p]
    if not paths:
        raise UsageError("say where the result goes: -o small.onnx (or --save, --report)")
    if options.output and Path(options.output).suffix in (".pt", ".pt2", ".html", ".json"):
        raise OutputError(
            f"{options.output}: -o writes ONNX; use --save for .pt2 and --report for .html, .json"
        )
    if options.report:
        check_report_name(options.report)
    check_outputs(paths, inputs=inputs)


def state_folder(options: argparse.Namespace) -> Path:
    """Return where the state of this run goes; the same command finds it again."""
    if options.work_dir is not None:
        return Path(options.work_dir)
    return Path(f"{options.output or options.save or options.report}.state")


@contextmanager
def holding_outputs(options: argparse.Namespace) -> Iterator[Path]:
    """Hold the outputs of a run against other runs; yield the folder of its state.

    Raises:
        OutputError: if another process holds them.
    """
    folder = state_folder(options)
    with exclusive(folder, Path(options.output or options.save or options.report)):
        yield folder


def write_result(result: Result | FileResult, options: argparse.Namespace) -> list[Path]:
    """Write the ONNX file, the program and the report that were asked for; return their paths.

    They appear together, or none of them.

    Raises:
        OutputError: if one cannot be written.
    """
    written = []
    with written_together():
        if options.output:
            written.append(result.export(options.output))
        if options.save:
            from compressc.frontend.archive import save

            # A file that was taken as it is has no program, and --save was refused.
            save(cast("Result", result).program, options.save)
            written.append(Path(options.save))
        if options.report:
            from compressc.reporting.report_file import write_report

            write_report(options.report, result.report)
            written.append(Path(options.report))
    sys.stdout.flush()
    return written
